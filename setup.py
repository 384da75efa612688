"""Packaging of cenergyd; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

BUILT_IN_PLUGINS = (
    "utility",
    "load",
    "solar",
    "rollups",
    "netload",
    "energy",
    "alerts",
    "monthly_summary",
    "notify_email",
    "notify_sms",
    "notify_webhook",
)

DOCS = ["mkdocs>=1.6"]
VERSION = re.findall(r'__version__ = "(.+)"', Path(__file__).with_name("cenergyd").joinpath("__init__.py").read_text())[
    0
]

setup(
    name="cenergyd",
    version=VERSION,
    description="Receives AcquiSuite meter logs, stores them, and computes the meter that is not there",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["cenergyd", "cenergyd.*"]),
    package_data={
        "cenergyd": [
            "py.typed",
            "**/*.sql",
            "**/*.ini",
            "**/*.html",
            "**/*.js",
            "**/*.css",
            "**/*.svg",
            "**/*.LICENSE",
            "**/*.txt",
            "**/*.json",
        ]
    },
    install_requires=[
        "twisted[tls]>=25.5",
        "klein>=24.8",
        "txmongo>=25",
        "influxdb>=5.3.2,<6",
        "msgpack>=0.6.1",
        "pluggy>=1.5",
        "attrs>=24.1",
        "certifi>=2024.7.4",
        "msgspec>=0.20",
        "multipart>=2",
        "argon2-cffi>=23.1",
        "click>=8.2",
        "defusedxml>=0.7.1",
        "isal>=1.7",
        "jinja2>=3.1.4",
        "prometheus_client>=0.21",
        "treq>=24.9",
        "tzdata>=2025.1",
    ],
    extras_require={
        "docs": DOCS,
        "test": [
            *DOCS,
            "aiosmtpd>=1.4.6",
            "hypothesis>=6.120",
            "mongoengine>=0.29",
            "import-linter>=2.1",
            "mongoeco[wire]>=4.11; python_version >= '3.13'",
            "mypy>=1.14",
            "paho-mqtt>=2.1",
            "pytest>=8.3",
            "pytest-random-order>=1.1.1",
            "pytest-twisted>=1.14.3",
            "pytest-xdist>=3.6",
            "pyyaml>=6",
            "ruff>=0.9",
            "schemathesis>=4",
            "secantusdb>=0.7.0b3",
            "selenium>=4.27",
            "setuptools>=77",
        ],
    },
    entry_points={
        "console_scripts": ["cenergyd = cenergyd.cli:main"],
        "cenergyd": [f"{name} = cenergyd.plugins.{name}" for name in BUILT_IN_PLUGINS],
    },
)
