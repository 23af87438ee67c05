"""The error tree: every failure is a type with a stable code and parameters; words are added at the doors."""

from __future__ import annotations

from enum import StrEnum

import msgspec

Param = str | int | float | bool | None


class Code(StrEnum):
    """Stable English codes; each has a message in every catalogue under ``error.<code>``."""

    # what a person enters
    FIELD_REQUIRED = "field_required"
    FIELD_TYPE = "field_type"
    FIELD_RANGE = "field_range"
    FIELD_CHOICE = "field_choice"
    FIELD_RESERVED = "field_reserved"
    FIELD_UNKNOWN = "field_unknown"
    NOT_JSON = "not_json"
    API_KEY_REQUIRED = "api_key_required"
    KEY_UNUSABLE = "key_unusable"
    PROXY_INVALID = "proxy_invalid"
    PROXY_VARIABLE = "proxy_variable"
    RECIPE_INVALID = "recipe_invalid"
    SETTING_INVALID = "setting_invalid"
    CONFIG_FILE_UNREADABLE = "config_file_unreadable"
    CHILD_COMMAND = "child_command"
    PRESET_FILE_INVALID = "preset_file_invalid"
    CAPTION_MISSING = "caption_missing"
    FILE_NOT_REGULAR = "file_not_regular"
    TEXT_ENCODING = "text_encoding"
    TEXT_TOO_LARGE = "text_too_large"
    TABLE_UNREADABLE = "table_unreadable"
    TABLE_COLUMNS = "table_columns"
    TABLE_NO_MATCH = "table_no_match"
    REFERENCES_MISSING = "references_missing"
    TEMPLATE_SYNTAX = "template_syntax"
    TEMPLATE_VARIABLE = "template_variable"
    TEMPLATE_EMPTY = "template_empty"
    # paths and pictures
    PATH_INVALID = "path_invalid"
    PATH_NOT_FOUND = "path_not_found"
    PATH_UNREADABLE = "path_unreadable"
    FOLDER_EMPTY = "folder_empty"
    NO_PICTURES = "no_pictures"
    PICTURE_UNREADABLE = "picture_unreadable"
    PICTURE_NOT_IMAGE = "picture_not_image"
    PICTURE_BROKEN = "picture_broken"
    PICTURE_TOO_LARGE = "picture_too_large"
    PICTURE_TOO_MANY_PIXELS = "picture_too_many_pixels"
    PICTURE_TOO_SLOW = "picture_too_slow"
    SOURCE_MISSING = "source_missing"
    SOURCE_CHANGED = "source_changed"
    # addresses
    URL_MALFORMED = "url_malformed"
    URL_SCHEME = "url_scheme"
    URL_CREDENTIALS = "url_credentials"
    ADDRESS_PRIVATE = "address_private"
    ADDRESS_FAKE_IP = "address_fake_ip"
    HOST_NOT_LISTED = "host_not_listed"
    HOST_UNRESOLVABLE = "host_unresolvable"
    REDIRECT_LIMIT = "redirect_limit"
    REDIRECT_REFUSED = "redirect_refused"
    # the line to the API
    CONNECT_FAILED = "connect_failed"
    CONNECTION_LOST = "connection_lost"
    TLS_FAILED = "tls_failed"
    PROXY_FAILED = "proxy_failed"
    TIMED_OUT = "timed_out"
    ANSWER_TOO_LARGE = "answer_too_large"
    PROTOCOL_BROKEN = "protocol_broken"
    # what the API answers
    KEY_REFUSED = "key_refused"
    ACCESS_REFUSED = "access_refused"
    MODEL_UNKNOWN = "model_unknown"
    MODEL_UNSUITED = "model_unsuited"
    ENDPOINT_UNKNOWN = "endpoint_unknown"
    ENDPOINT_TWICE = "endpoint_twice"
    PARAMETER_REFUSED = "parameter_refused"
    REQUEST_TOO_LARGE = "request_too_large"
    CONTENT_REFUSED = "content_refused"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    UPSTREAM_STATUS = "upstream_status"
    UPSTREAM_ERROR = "upstream_error"
    ANSWER_EMPTY = "answer_empty"
    ANSWER_NO_PICTURE = "answer_no_picture"
    ANSWER_ENDED = "answer_ended"
    ANSWER_JOB = "answer_job"
    ANSWER_WEB_PAGE = "answer_web_page"
    STREAM_CUT = "stream_cut"
    CANDIDATES_REFUSED = "candidates_refused"
    SOME_CANDIDATES_REFUSED = "some_candidates_refused"
    RESULT_OVER_LIMIT = "result_over_limit"
    BASE64_INVALID = "base64_invalid"
    DOWNLOAD_STATUS = "download_status"
    # jobs at a provider
    RECIPE_FOUND_NOTHING = "recipe_found_nothing"
    UPLOAD_FAILED = "upload_failed"
    JOB_FORGOTTEN = "job_forgotten"
    JOB_UNREADABLE = "job_unreadable"
    JOB_TIMED_OUT = "job_timed_out"
    JOB_UNKNOWN = "job_unknown"
    BATCH_UNSUPPORTED = "batch_unsupported"
    BATCH_LINE_INVALID = "batch_line_invalid"
    BATCH_NOT_MADE = "batch_not_made"
    BATCH_LINE_REFUSED = "batch_line_refused"
    BATCH_LINE_MISSING = "batch_line_missing"
    BATCH_EXPIRED = "batch_expired"
    BATCH_CANCELLED = "batch_cancelled"
    BATCH_EXPIRES_SOON = "batch_expires_soon"
    BATCH_UNREACHABLE = "batch_unreachable"
    # tasks
    STOPPED_BY_USER = "stopped_by_user"
    NOTHING_TO_RESUME = "nothing_to_resume"
    FOUND_UNFINISHED = "found_unfinished"
    EVERY_TASK_FAILS = "every_task_fails"
    BUDGET_REACHED = "budget_reached"
    EVERY_JOB_FAILS = "every_job_fails"
    RATE_PAUSE = "rate_pause"
    BATCH_RUNNING = "batch_running"
    NO_PREVIEW = "no_preview"
    TASK_RUNNING = "task_running"
    TOO_MANY_STREAMS = "too_many_streams"
    TOO_MANY_RETRIES = "too_many_retries"
    TASK_UNKNOWN = "task_unknown"
    RESULT_UNKNOWN = "result_unknown"
    PRESET_UNKNOWN = "preset_unknown"
    OPERATION_UNKNOWN = "operation_unknown"
    # files of ours
    OUTPUT_REQUIRED = "output_required"
    OUTPUT_NOT_FOLDER = "output_not_folder"
    OUTPUT_NOT_WRITABLE = "output_not_writable"
    DISK_FULL = "disk_full"
    STORAGE_FAILED = "storage_failed"
    KEY_STORE_UNUSABLE = "key_store_unusable"
    NO_HOME = "no_home"
    DATA_FOLDER_UNWRITABLE = "data_folder_unwritable"
    DATA_FOLDER_IN_USE = "data_folder_in_use"
    OLD_STATE_TAKEN_OVER = "old_state_taken_over"
    FILE_DAMAGED = "file_damaged"
    RESULT_DELETED = "result_deleted"
    RESULT_CHANGED = "result_changed"
    RESULT_FILE_MISSING = "result_file_missing"
    RESULT_FILES_MISSING = "result_files_missing"
    # projects
    PROJECT_UNKNOWN = "project_unknown"
    PROJECT_NAME = "project_name"
    PROJECT_FIRST = "project_first"
    PROJECT_IN_USE = "project_in_use"
    PROJECT_BUSY = "project_busy"
    PROJECT_SWITCHED = "project_switched"
    PROJECT_UNWRITABLE = "project_unwritable"
    PROJECT_FILE_INVALID = "project_file_invalid"
    PROJECT_FILE_NEWER = "project_file_newer"
    PROJECT_FILE_UNSAFE = "project_file_unsafe"
    PROJECT_FILE_PARTLY = "project_file_partly"
    # training sets
    SET_EMPTY = "set_empty"
    SET_HAS_FINDINGS = "set_has_findings"
    EXPORT_INSIDE_SOURCE = "export_inside_source"
    NO_FOLDER_REPEATS = "no_folder_repeats"
    FOLDER_WITHOUT_PAIRS = "folder_without_pairs"
    PATH_ROOT_PATTERN = "path_root_pattern"
    EXTRA_MISSING = "extra_missing"
    PUBLISH_EXTRA_MISSING = "publish_extra_missing"
    JOB_RUNNING = "job_running"
    REPORT_NAME = "report_name"
    # the judge
    JUDGE_UNREADABLE = "judge_unreadable"
    RUBRIC_UNKNOWN = "rubric_unknown"
    RUBRIC_BUILT_IN = "rubric_built_in"
    TRIAL_UNKNOWN = "trial_unknown"
    RESULTS_LOOK_WRONG = "results_look_wrong"
    RESULTS_LOOKED_WRONG = "results_looked_wrong"
    # more than one machine
    CLUSTER_EXTRA_MISSING = "cluster_extra_missing"
    CLUSTER_ADDRESS = "cluster_address"
    CLUSTER_INSECURE = "cluster_insecure"
    CLUSTER_TLS = "cluster_tls"
    CLUSTER_GONE = "cluster_gone"
    CLUSTER_EMPTY = "cluster_empty"
    CLUSTER_REPEATS = "cluster_repeats"
    CLUSTER_DIFFERS = "cluster_differs"
    CLUSTER_NOT_SHARED = "cluster_not_shared"
    ANSWERS_TAKEN_IN = "answers_taken_in"
    WORKER_LOST = "worker_lost"
    # the door
    HOST_NOT_ALLOWED = "host_not_allowed"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    TOKEN_REQUIRED = "token_required"  # noqa: S105 - a code, not a secret
    LOOPBACK_ONLY = "loopback_only"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONTENT_TYPE_REFUSED = "content_type_refused"
    BODY_TOO_LARGE = "body_too_large"
    REQUEST_MALFORMED = "request_malformed"
    INTERNAL = "internal"


class Problem(msgspec.Struct, frozen=True):
    """A failure as plain data: what is stored with a task and what crosses the bridge."""

    code: Code
    params: dict[str, Param] = {}
    field: str | None = None


class ConsoleError(Exception):
    """Root of all errors that this program raises on purpose."""

    def __init__(self, code: Code, *, field: str | None = None, **params: Param) -> None:
        super().__init__(code.value)
        self.code = code
        self.field = field
        self.params = params

    @property
    def problem(self) -> Problem:
        """The same failure as plain data."""
        return Problem(self.code, self.params, self.field)


class InvalidInput(ConsoleError):
    """What was entered cannot be used; names the field where there is one (HTTP 400)."""


class NotAuthenticated(ConsoleError):
    """No token, or a wrong one (HTTP 401)."""


class NotAllowed(ConsoleError):
    """Asked from where this may not be asked (HTTP 403)."""


class NotFound(ConsoleError):
    """No such task, result, preset or operation (HTTP 404)."""


class Busy(ConsoleError):
    """Not now: something runs that excludes it (HTTP 409)."""


class TooLarge(ConsoleError):
    """More bytes than the door takes (HTTP 413)."""


class StorageFailed(ConsoleError):
    """A file of ours could not be read or written: disk full, read-only, damaged."""


class ClusterFailed(ConsoleError):
    """The machines that were to help cannot be used."""


class PictureRejected(ConsoleError):
    """Bytes that are not a whole raster picture within the limits."""


class Stopped(ConsoleError):
    """The person stopped this call."""

    def __init__(self) -> None:
        super().__init__(Code.STOPPED_BY_USER)


class EditFailed(ConsoleError):
    """A call to the API, or the download of what it named, did not succeed.

    ``retryable``: asking again may help. ``retry_after``: seconds that the API asked to wait.
    ``http_status``: status of the answer, None when there was none.
    """

    def __init__(
        self,
        code: Code,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        http_status: int | None = None,
        **params: Param,
    ) -> None:
        super().__init__(code, field=None, **params)
        self.retryable = retryable
        self.retry_after = retry_after
        self.http_status = http_status


class NetworkFailed(EditFailed):
    """The line broke: connect, TLS, proxy, reset, timeout."""


class AddressRefused(EditFailed):
    """The address rules forbid this URL; never retryable."""


class UpstreamRefused(EditFailed):
    """The API answered with an error status or an error event."""


class AnswerUnusable(EditFailed):
    """The API answered, but without a picture that can be kept."""
