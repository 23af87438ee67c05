"""Ties each sentence of SECURITY.md to the tests that hold it: who changes one is sent to the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEOPLE: Final = ("what people or the world do, and no program can test",)

HELD: Final[dict[str, tuple[str, ...]]] = {
    # What is promised: the key
    "Your key is sent only": (
        "security/test_key.py::test_no_change_takes_the_key_along",
        "security/test_key.py::test_no_recipe_takes_the_key_along",
        "security/test_key.py::test_no_redirect_takes_the_key_along",
        "security/test_key.py::test_no_download_takes_the_key_along",
        "security/test_key.py::test_no_change_shows_the_key_to_another_proxy",
    ),
    "It is stored in": (
        "bridge/test_key_store.py::test_keys_of_an_older_version_move_into_the_key_store",
        "bridge/test_key_store.py::test_what_is_entered_goes_to_the_key_store",
        "bridge/test_key_store.py::test_without_a_store_nothing_of_it_is_loaded",
        "bridge/test_key_store.py::test_a_store_that_fails_loses_no_key",
        "bridge/test_data_folder.py::test_everything_is_closed_to_others_on_every_start",
    ),
    "The form says which.": ("bridge/test_key_store.py::test_keys_of_an_older_version_move_into_the_key_store",),
    "It is masked or": (
        "security/test_key.py::test_the_key_is_nowhere",
        "security/test_key.py::test_only_the_environment_opens_the_export",
        "security/test_key.py::test_a_fault_inside_names_no_key",
    ),
    "So is what else": (
        "security/test_secrets.py::test_no_secret_leaves_by_any_answer_export_or_set",
        "security/test_secrets.py::test_secrets_are_told_by_name_and_by_form",
    ),
    "What of that stands": (
        "engine/upstream/test_recipe.py::test_what_is_secret_in_additions_goes_where_the_key_may",
        "engine/upstream/test_batch_bounds.py::test_what_is_added_to_calls_goes_to_the_provider_alone",
        "engine/tasks/test_doors.py::test_a_door_that_stands_there_twice",
    ),
    # the network
    "URLs that lead to": (
        "security/test_addresses_everywhere.py::test_every_way_to_every_kind_is_closed",
        "security/test_addresses.py::test_every_address_that_is_not_public_is_refused",
    ),
    "A name is looked": (
        "security/test_addresses_rebinding.py::test_rebinding_never_reaches_the_forbidden_address",
        "security/test_addresses.py::test_one_bad_address_spoils_an_answer",
    ),
    "Through a proxy it": (
        "engine/upstream/test_transport_proxies.py::test_local_addresses_are_refused_behind_a_proxy_too",
        "engine/upstream/test_transport_proxies.py::test_http_proxy_gets_the_name_and_the_request",
    ),
    "Without a proxy nothing": (
        "security/test_addresses_rebinding.py::test_rebinding_never_reaches_the_forbidden_address",
    ),
    # the answers
    "A result that the": (
        "engine/images/test_cache.py::test_a_picture_is_found_under_the_hash_of_its_bytes",
        "faults/test_kill.py::test_killed_at_random_moments",
    ),
    "Stop, crash, `kill -9`,": (
        "faults/test_program_stop.py::test_what_had_arrived_stays",
        "faults/test_kill.py::test_killed_at_random_moments",
        "faults/test_hard_times.py::test_a_full_disk_pauses_the_batch",
    ),
    "A stop ends within": (
        "faults/test_program_stop.py::test_stop_is_now",
        "faults/test_program_stop.py::test_what_had_arrived_stays",
    ),
    "A job that a": (
        "faults/test_kill_jobs.py::test_killed_at_every_step_of_a_job",
        "bridge/test_remote.py::test_a_job_outlives_stop_and_restart",
    ),
    "A damaged file is": (
        "faults/test_damage.py::test_the_program_starts_and_nothing_is_lost_unsaid",
        "faults/test_damage.py::test_a_real_start_says_what_happened",
    ),
    # the files
    "The source folder is": ("faults/test_held_files.py::test_nothing_that_is_open_is_removed_or_renamed",),
    "Saving never overwrites and": (
        "engine/dataset/test_save.py::test_nothing_is_overwritten_and_nothing_leaves_the_folder",
    ),
    "What a folder holds": (
        "engine/test_paths.py::test_what_a_folder_names_is_read_from_that_folder_only",
        "engine/dataset/test_preflight.py::test_a_swapped_source_is_told_and_not_read",
    ),
    "A project file that": ("bridge/test_carrying.py::test_a_file_names_no_picture_of_this_machine",),
    "Pictures are decoded within": (
        "engine/images/test_pixels.py::test_one_hostile_picture_needs_no_gigabyte",
        "engine/images/test_pixels.py::test_many_decoders_share_one_bound",
        "engine/images/test_pixels.py::test_a_jpeg_of_too_many_scans_is_refused_before_it_is_decoded",
        "fuzz/test_pictures.py::test_mutated_pictures",
    ),
    "The data folder and": ("bridge/test_data_folder.py::test_everything_is_closed_to_others_on_every_start",),
    # the server
    "The server listens on": ("bridge/test_settings.py::test_defaults",),
    "One check stands before": (
        "security/test_door.py::test_foreign_requests_are_refused",
        "security/test_door.py::test_a_body_of_another_type_is_refused",
        "security/test_door.py::test_an_oversized_body_is_refused",
        "security/test_door.py::test_without_the_token_nothing_is_answered",
    ),
    "Pictures are served only": (
        "security/test_pictures_served.py::test_what_took_a_pictures_place_is_not_served",
        "security/test_pictures_served.py::test_the_type_is_that_of_the_bytes",
        "security/test_pictures_served.py::test_every_picture_route_is_hardened",
    ),
    "The page runs no": ("security/test_pictures_served.py::test_the_page_runs_only_its_own_scripts",),
    "Names and answers reach": ("e2e/test_terminal.py::test_what_others_say_is_only_shown",),
    # what it is built of
    "Exact versions with hashes": (
        "test_house.py::test_locks_have_hashes",
        "webui/test_words.py::test_vendored_files_are_as_pinned",
    ),
    "`scripts/audit.sh` holds all": ("test_house.py::test_what_is_said_of_parts_and_releases_is_done",),
    "A new dependency comes": PEOPLE,
    "Released files carry checksums,": ("test_house.py::test_what_is_said_of_parts_and_releases_is_done",),
    "These promises are tested;": ("security/test_promises.py::test_each_sentence_is_held",),
    # What is not
    "Programs that run under": PEOPLE,
    "So can whoever administers": PEOPLE,
    "Without a key store": ("bridge/test_key_store.py::test_without_a_store_nothing_of_it_is_loaded",),
    "What is overwritten may": PEOPLE,
    "Other users of the": (
        "bridge/test_data_folder.py::test_everything_is_closed_to_others_on_every_start",
        "bridge/test_access.py::test_old_scripts_need_no_headers",
    ),
    "On a machine that": ("security/test_door.py::test_without_the_token_nothing_is_answered",),
    "The page is opened": (
        "security/test_token.py::test_the_token_is_replaced_by_keys_for_one_use_each",
        "webui/test_token_page.py::test_the_page_works_whole_with_a_token",
    ),
    "So a page on": ("webui/test_token_page.py::test_a_page_on_another_port_gets_nothing",),
    "Scripts send the token": ("bridge/test_access.py::test_token_is_required_from_every_client",),
    "It protects the port,": ("security/test_instance.py::test_who_took_the_port_of_a_killed_program_learns_nothing",),
    "With `HOST` other than": (
        "security/test_token.py::test_a_host_that_others_can_reach_makes_a_token",
        "e2e/test_serve_process.py::test_network_address_makes_a_token_up_and_says_it",
    ),
    "The connection is not": PEOPLE,
    "The workers of a": (
        "engine/test_cluster.py::test_clusters_that_cannot_be_used_are_refused_with_the_reason",
        "engine/test_cluster.py::test_sources_that_a_worker_does_not_see_go_along",
    ),
    "Program, scheduler and workers": PEOPLE,
    "Into that of `local:N`": ("engine/test_cluster.py::test_nobody_else_on_this_computer_gets_in",),
    "Whoever has the token": ("bridge/test_bad_input.py::test_source_path",),
    "The API that you": ("bridge/test_bad_input.py::test_answers",),
    "What it does with": PEOPLE,
    "Whoever can write to": ("engine/test_paths.py::test_what_a_folder_names_is_read_from_that_folder_only",),
    "Power cuts may cost": PEOPLE,
    "A crash of the": ("faults/test_kill.py::test_killed_at_random_moments",),
    "A picture that rots": (
        "faults/test_damage.py::test_rotten_bytes_are_not_shown_as_the_result",
        "faults/test_damage.py::test_the_program_starts_and_nothing_is_lost_unsaid",
    ),
    "The switches that unlock": (
        "security/test_addresses.py::test_each_purpose_has_its_own_switch",
        "security/test_token.py::test_clients_on_other_machines_see_no_debug_log",
        "security/test_key.py::test_only_the_environment_opens_the_export",
    ),
}
"""The first three or four words of each sentence, and what holds it."""


def _sentences() -> list[str]:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    found: list[str] = []
    for section in ("What is promised", "What is not"):
        body = text.partition(f"## {section}\n")[2].partition("\n## ")[0]
        body = re.sub(r"\*\*[^*]+\.\*\*", "", body).replace("**", "")  # headings in the line
        for paragraph in re.split(r"\n\n|\n(?=- )", body.strip()):
            found += re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(paragraph.split()).removeprefix("- "))
    return found


def test_each_sentence_is_held() -> None:
    """No sentence without an entry, no entry without a sentence."""
    sentences = _sentences()
    assert [said for said in sentences if sum(said.startswith(words) for words in HELD) != 1] == []
    assert [words for words in HELD if not any(said.startswith(words) for said in sentences)] == []


@pytest.mark.parametrize(
    "file", sorted({held.partition("::")[0] for tests in HELD.values() for held in tests} - {*PEOPLE})
)
def test_what_holds_them_is_there(file: str) -> None:
    """Each test that is named exists."""
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    named = {held.partition("::")[2] for tests in HELD.values() for held in tests if held.startswith(file)}
    assert [name for name in sorted(named) if f"def {name}(" not in text] == []
