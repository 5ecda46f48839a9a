# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run in a lab (docs/lab.md)."""
import pytest

from lab import Lab, why_not


@pytest.fixture(scope="session", autouse=True)
def can_make_labs():
    if why_not():
        pytest.skip(why_not())


@pytest.fixture
def lab():
    """lab(topology) makes one that ends with the test."""
    labs = []

    def make(topology):
        labs.append(Lab(topology))
        return labs[-1]

    yield make
    for one in labs:
        one.down()


def pytest_sessionfinish(session, exitstatus):
    """Nothing but skipped tests is a skipped test for who runs this (77, as everywhere here)."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and reporter and reporter.stats.get("skipped") and not reporter.stats.get("passed"):
        session.exitstatus = 77
