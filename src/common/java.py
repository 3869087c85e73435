"""What Java needs from its surroundings before Spark can start, where cron, a container or an odd shell left it out."""

from __future__ import annotations

import locale
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

LEAST_JAVA = 17


def user_name() -> str | None:
    """Return the name of the user that the process runs as, None where no passwd entry has one (docker run -u 12345)."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def surroundings(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the environment to set, beside those given, before a JVM starts.

    - Java names files by the locale's letters: under cron, or where LANG names a locale that is not installed, those are
      ASCII, and other names can't be opened.
    - A user without a passwd entry has neither a name nor a home for Java; Spark wants both.
    - TMPDIR means nothing to Java, and Spark's own folders follow Java's.
    """
    wanted = {} if _names_are_utf8() else {"LC_ALL": "C.UTF-8"}
    scratch = tempfile.gettempdir()
    options = []
    if user_name() is None:
        home = given.get("HOME", "")
        options += [f"-Duser.name={_nameless()}", f"-Duser.home={home if os.path.isabs(home) else scratch}"]
    if given.get("TMPDIR") and "," not in scratch:
        options.append(f"-Djava.io.tmpdir={scratch}")
        if "SPARK_LOCAL_DIRS" not in given:
            wanted["SPARK_LOCAL_DIRS"] = scratch
    already = given.get("SPARK_SUBMIT_OPTS", "")
    new = [quoted for quoted in map(_quoted, options) if quoted not in already]
    if new:
        wanted["SPARK_SUBMIT_OPTS"] = " ".join([already, *new]).strip()
    return wanted


def _names_are_utf8() -> bool:
    return locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8"


def _nameless() -> str:
    return os.environ.get("HADOOP_USER_NAME") or f"uid-{os.getuid()}"


def _quoted(option: str) -> str:
    """Quote an option as Spark's launcher takes a line of them apart."""
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"' if re.search(r"[\s\"'\\]", option) else option


def name_the_user() -> None:
    """Give the user a name inside the JVM where no passwd entry has one; to be called before the first session starts.

    Hadoop asks the operating system for it, and takes no variable of the environment instead.
    """
    if user_name() is None:
        from pyspark import SparkContext

        SparkContext._ensure_initialized()
        users = SparkContext._jvm.org.apache.hadoop.security.UserGroupInformation  # type: ignore[union-attr]
        users.setLoginUser(users.createRemoteUser(_nameless()))


def java_command() -> str | None:
    """Return the java that Spark starts: that of JAVA_HOME, else the first on the PATH; None where there is none."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")


def why_not_started(error: BaseException) -> str:
    """Say why Spark did not start, as far as it can be told, and what to do."""
    text = str(error)
    known = {
        "No usable temporary directory": "no temporary folder can be written; name one that can with TMPDIR",
        "No space left on device": f"the disk is full (temporary files go to {tempfile.gettempdir()}); free space, or name "
        "another folder with TMPDIR",
        "Invalid UID": f"uid {os.getuid()} has no name on this machine; add a passwd entry for it",
        "org.apache.spark.sql.delta": "the Delta jars are missing; run scripts/setup_environment.sh --force",
        "io.delta.sql": "the Delta jars are missing; run scripts/setup_environment.sh --force",
        "Service 'sparkDriver' could not bind": "Spark's address on this machine is taken or forbidden; name "
        "another with --spark-conf spark.driver.bindAddress=ADDRESS",
    }
    for sign, remedy in known.items():
        if sign in text:
            return remedy
    lines = [line.strip() for line in text.splitlines() if line.strip() and "error occurred while calling" not in line]
    said = (lines or [type(error).__name__])[0].removeprefix(": ")
    return what_is_wrong_with_java() or f"{said[:400]}; what Java said of it stands above"


def what_is_wrong_with_java() -> str:
    """Say what is wrong with the Java that Spark would start, "" where it is one that will do."""
    java, home = java_command(), os.environ.get("JAVA_HOME")
    where = f"in JAVA_HOME ({home})" if home else "on the PATH"
    remedy = f"install Java {LEAST_JAVA} or newer, or run scripts/setup_environment.sh"
    if java is None:
        return f"Java: none found {where}; {remedy}"
    asked = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, errors="replace")
    version = re.search(r'version "(\d+)', asked.stderr + asked.stdout)
    if asked.returncode or version is None:
        return f"Java: {java} does not run ({(asked.stderr or asked.stdout).strip()[:200]}); {remedy}"
    if int(version[1]) < LEAST_JAVA:
        return f"Java: {java} is version {version[1]}; {remedy}"
    return ""
