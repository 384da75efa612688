"""Settings of earlier releases: those that still work under their old names, and those that have become constants."""

from __future__ import annotations

from typing import Final

RENAMED: Final = {
    "alerts.fresh_seconds": "max_age_seconds",
    "outbox.repeatable": "idempotent_channels",
}
"""Old ``section.key`` -> the key of today, in the same section."""

CONSTANT: Final = frozenset(
    f"{section}.{key}"
    for section, keys in {
        "server": "max_body_bytes max_request_seconds",
        "readings": "threads max_queued_uploads max_queued_readings max_write_readings writes_in_flight",
        "upload": (
            "max_inflated_bytes max_form_fields max_field_bytes max_config_bytes max_config_versions activity_seconds "
            "activity_repeat_seconds max_rejected max_concurrent"
        ),
        "credentials": "cache_seconds max_cached hash_threads hash_memory_kib hash_iterations failure_window_seconds",
        "derivation": (
            "max_rest_seconds batch_customers chunk_readings claim_seconds retry_seconds concurrent_batches "
            "concurrent_backlogs max_waiting_plugins"
        ),
        "jobs": (
            "max_rest_seconds periodic_seconds batch_customers concurrent_customers chunk_hours claim_seconds retry_seconds"
        ),
        "rollups": "chunk_hours",
        "alerts": "max_silent_loggers recheck_seconds keep_days",
        "outbox": (
            "interval_seconds send_timeout_seconds concurrency first_retry_seconds max_retry_seconds keep_seconds "
            "max_per_customer max_tests_per_hour max_attempts"
        ),
        "email": "timeout_seconds",
        "sms": "timeout_seconds",
        "webhook": "timeout_seconds",
        "web": (
            "sessions_per_token first_token_seconds failure_window_seconds max_json_bytes page_size "
            "event_streams_per_client events_poll_seconds points target_points max_points event_streams "
            "max_failures_per_address"
        ),
    }.items()
    for key in keys.split()
)
"""``section.key`` of what was a setting; it is ignored with a warning."""
