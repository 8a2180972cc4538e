from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from syncmetrics.testing.servers import also_imported, import_once

# The same examples on every run and on every machine; few enough that the whole suite takes minutes.
settings.register_profile(
    "syncmetrics",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("syncmetrics")

# Ranks find imported what the module of their function imports: Lightning alone takes longer than most tests.
import_once()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    marker = item.get_closest_marker("ranks_import")
    with also_imported(*(marker.args if marker else ())):
        return (yield)
