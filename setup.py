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
    "openlineage-python>=1.54",
    "shtab>=1.13",
]
DASHBOARD = [
    "jinja2>=3.1",
    "starlette>=1.10",
    "uvicorn>=0.54",
]
POSTGRES = [
    "adbc-driver-manager>=1.13",
    "adbc-driver-postgresql>=1.13",
]
EXCEL = ["python-calamine>=0.9"]
STORE = ["obstore>=0.12", "fsspec>=2026.9"]
NOTEBOOKS = [
    "ipykernel>=7",
    "matplotlib>=3.10",
    "nbclient>=0.10",
]
DEVELOPMENT = [
    *NOTEBOOKS,
    *DASHBOARD,
    *POSTGRES,
    *EXCEL,
    *STORE,
    "aiosmtpd>=1.4",
    "axe-playwright-python>=0.1.8",
    "chispa>=0.10",
    "httpx>=0.28",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.15",
    "openpyxl>=3.1",
    "pandas-stubs",
    "playwright>=1.65",
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
    package_data={
        "cloudlake": [
            "py.typed",
            "conf/*",
            "common/lake/logstore/*",
            "common/quality/templates/*",
            "serving/dashboard/static/*",
            "serving/dashboard/templates/*",
        ]
    },
    install_requires=RUNTIME,
    extras_require={
        "notebooks": NOTEBOOKS,
        "dashboard": DASHBOARD,
        "postgres": POSTGRES,
        "excel": EXCEL,
        "store": STORE,
        "dev": DEVELOPMENT,
    },
    entry_points={"console_scripts": ["cloudlake = cloudlake.cli:main"]},
)
