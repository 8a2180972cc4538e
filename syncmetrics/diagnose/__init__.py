"""What is the matter here? This process, its machine and its job, looked at, judged, and timed.

What is found out (`process`, `host`, `network`, `backends`, `exchange`) is kept apart from what is said of it
(`judge`, `diagnosis`), which are pure functions. `python -m syncmetrics doctor` prints it; `examine()` gives it to a
script or a test, within a job that is under way as well. What a sync costs on a user's machine is in `measure`.
"""

from __future__ import annotations

from syncmetrics.diagnose.diagnosis import Diagnosis, RankReport
from syncmetrics.diagnose.doctor import examine
from syncmetrics.diagnose.findings import Finding

__all__ = ["Diagnosis", "Finding", "RankReport", "examine"]
