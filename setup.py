"""Packaging of cloudlake: the package `cloudlake` lives in `src/`."""

from setuptools import find_packages, setup

RUNTIME = [
    "pyspark==4.2.0",
    "delta-spark==4.4.0",
    "pyyaml>=6",
    "pandas>=2.2,<3",
    "pyarrow>=16",
    "great-expectations==1.24.1",
    "deltalake>=1.6",
    "duckdb>=1.4",
    "prometheus-client>=0.20",
    "psutil>=5.9",
    "pydantic>=2.11",
    "requests>=2.32",
    "rich>=13",
    "tenacity>=9",
    "holidays>=0.100",
]
NOTEBOOKS = [
    "ipykernel>=7",
    "matplotlib>=3.10",
    "nbclient>=0.10",
]
DEVELOPMENT = [
    *NOTEBOOKS,
    "aiosmtpd>=1.4",
    "chispa>=0.10",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.15",
    "pandas-stubs",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "ruff>=0.11",
    "types-PyYAML",
    "types-psutil",
    "types-requests",
]

setup(
    name="cloudlake",
    version="0.1.0",
    description="The analytics platform of a cloud provider: a lambda architecture on PySpark and Delta Lake",
    python_requires=">=3.11",
    package_dir={"cloudlake": "src"},
    packages=["cloudlake", *(f"cloudlake.{package}" for package in find_packages("src"))],
    package_data={"cloudlake": ["py.typed"]},
    install_requires=RUNTIME,
    extras_require={"notebooks": NOTEBOOKS, "dev": DEVELOPMENT},
    entry_points={"console_scripts": ["cloudlake = cloudlake.cli:main"]},
)
