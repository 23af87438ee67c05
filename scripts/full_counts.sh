#!/bin/sh
# Runs the tests of tests/faults, tests/security and tests/fuzz with the full counts that tests/RESULTS.md shows; some
# hours on a small machine. Names choose a part: scripts/full_counts.sh kill damage. Output goes to dist/full_counts/.
# As root on Linux nothing is skipped: small file systems are mounted to be filled.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
cd "$root" || exit 1
logs=$root/dist/full_counts
mkdir -p "$logs"
wanted=${*:-addresses everywhere rebinding key door openapi kill cluster batches damage hard stop upstream trust answers decoding pictures targets saves states projects once list sets way guided providers jobs judging alarm installs}
failed=

is_wanted() {
    case " $wanted " in *" $1 "*) ;; *) return 1 ;; esac
}

# run NAME [VARIABLE=VALUE ...] -- pytest arguments
run() {
    name=$1
    shift
    is_wanted "$name" || return 0
    settings=
    while [ "$1" != -- ]; do
        settings="$settings $1"
        shift
    done
    shift
    echo "== $name"
    # shellcheck disable=SC2086 # several settings
    if env FULL=1 $settings ./test.sh -q -s -p no:cacheprovider "$@" >"$logs/$name.log" 2>&1; then
        grep -E '^\.?[{]|factor|reply|kinds|events in|tries|judged|calls ended|network away|mutations|walked|projects:|made up|searched|peak of|peak_mb|^\.*alarm|passed' "$logs/$name.log" | tail -70
    else
        failed="$failed $name"
        tail -40 "$logs/$name.log"
    fi
}

run everywhere -- tests/security/test_addresses_everywhere.py
run rebinding -- tests/security/test_addresses_rebinding.py
run key -- tests/security/test_key.py
run door -- tests/security/test_door.py tests/security/test_token.py tests/security/test_pictures_served.py \
    tests/security/test_malformed_requests.py
run openapi -- tests/security/test_openapi.py
run kill KILLS=1000 TASKS=500 -- tests/faults/test_kill.py
run batches KILLS=200 TASKS=12 PICTURES=1000 -- tests/faults/test_batch_kills.py
run cluster KILLS=100 TASKS=500 -- tests/faults/test_cluster_kills.py tests/faults/test_cluster_odd_machines.py
run damage MUTATIONS=1000 -- tests/faults/test_damage.py
run hard -- tests/faults/test_hard_times.py tests/faults/test_save_disk_full.py
run stop -- tests/faults/test_program_stop.py tests/faults/test_transport_stop.py
run providers FULL=1 JOBS=2000 -- tests/bridge/test_remote.py tests/bridge/test_remote_bad.py
run jobs KILLS=200 -- tests/faults/test_kill_jobs.py
run judging KILLS=200 -- tests/faults/test_kill_judging.py
run upstream -- tests/faults/test_program_upstream.py tests/faults/test_transport_faults.py
run trust -- tests/engine/test_paths.py tests/bridge/test_data_folder.py tests/bridge/test_key_store.py tests/security \
    tests/webui/test_token_page.py tests/e2e/test_terminal.py tests/engine/dataset/test_naming.py
run answers -- tests/engine/upstream/test_answer_room.py tests/engine/upstream/test_batch_bounds.py
run decoding -- tests/engine/images/test_pixels.py tests/engine/upstream/test_transport_content.py
# Other people's clients, at the versions of the day, are no part of the locked environment.
if is_wanted clients; then
    place=$root/dist/.clients
    [ -x "$place/bin/litellm" ] || { .venv-test/bin/python -m venv --clear "$place" &&
        "$place/bin/python" -m pip install -q openai "litellm[proxy]" >"$logs/clients-setup.log" 2>&1; }
    [ -x "$place/bin/litellm" ] || failed="$failed clients-environment"
fi
run clients CLIENTS="$root/dist/.clients" -- tests/e2e/test_clients.py
samples=
# Pillow's own test pictures come with its source; they are no part of this project.
if is_wanted pictures; then
    pillow=$(sed -n 's/^pillow==\([0-9.]*\).*/\1/p' requirements.lock)
    samples=$root/dist/pillow-$pillow
    if [ ! -d "$samples" ]; then
        .venv-test/bin/python -m pip download -q --no-deps --no-binary pillow -d "$samples.part" "pillow==$pillow" &&
            tar -xzf "$samples.part/pillow-$pillow.tar.gz" -C "$samples.part" "pillow-$pillow/Tests/images" &&
            mv "$samples.part/pillow-$pillow/Tests/images" "$samples"
        rm -rf "$samples.part"
    fi
    [ -d "$samples" ] || { echo "== no test pictures of Pillow"; failed="$failed pillow"; }
fi
run pictures PICTURES=20000 PICTURE_FOLDER="$samples" -- tests/fuzz/test_pictures.py
run targets EXAMPLES=5000 -- tests/fuzz/test_targets.py tests/fuzz/test_old_state.py
run alarm RUNS=1000 GOOD=200 -- tests/engine/tasks/test_alarm.py tests/bridge/test_trials.py
run saves EXAMPLES=2000 -- tests/engine/dataset/test_save.py
run states STATES=200 -- tests/fuzz/test_store_states.py tests/fuzz/test_operation_states.py
run projects PROJECTS=1000 -- tests/bridge/test_projects.py
run once -- tests/bridge/test_pay_once.py
run list -- tests/webui/test_list.py

# A person's whole way in Chromium, in both languages and themes.
if is_wanted way; then
    echo "== way"
    .venv-test/bin/python -m tests.webui.whole_way >"$logs/way.log" 2>&1 || failed="$failed way"
    cat "$logs/way.log"
fi
run sets -- tests/engine/dataset/test_awkward.py

if is_wanted installs; then
    echo "== installs"
    scripts/installs.sh >"$logs/installs.log" 2>&1 || failed="$failed installs"
    grep -E ': ([0-9]+ pictures|exit|FAILED)' "$logs/installs.log"
fi

# The same judgement of addresses on every Python that is supported and here.
for version in 3.11 3.12 3.13; do
    is_wanted addresses || continue
    echo "== addresses, Python $version"
    "python$version" --version >/dev/null 2>&1 || { echo "not here"; failed="$failed addresses-$version"; continue; }
    place=$root/dist/.python$version
    [ -x "$place/bin/python" ] || "python$version" -m venv "$place" || continue
    "$place/bin/python" -m pip install -q --no-deps --require-hashes -r requirements-dev.lock \
        >"$logs/addresses-$version.log" 2>&1
    "$place/bin/python" -m pytest -q -s -p no:cacheprovider tests/security/test_addresses.py \
        tests/engine/upstream/test_netguard.py >>"$logs/addresses-$version.log" 2>&1 || failed="$failed addresses-$version"
    grep -E 'judged|passed|failed' "$logs/addresses-$version.log"
done

# Guided by coverage, a minute for each target. The fuzzer is no part of the locked environment: Linux alone has it.
if is_wanted guided; then
    place=$root/dist/.fuzz
    if ! "$place/bin/python" -c 'import atheris, msgspec' 2>/dev/null; then
        .venv-test/bin/python -m venv --clear "$place" &&
            "$place/bin/python" -m pip install -q --no-deps --require-hashes -r requirements.lock &&
            "$place/bin/python" -m pip install -q atheris==3.0.0 || failed="$failed guided-environment"
    fi
    for target in $(PYTHONPATH=$root "$place/bin/python" -c 'from tests.fuzz.targets import TARGETS; print(*TARGETS)'); do
        echo "== guided, $target"
        PYTHONPATH=$root "$place/bin/python" tests/fuzz/fuzz.py "$target" -max_total_time="${GUIDED_SECONDS:-60}" \
            -max_len=4096 -print_final_stats=1 -artifact_prefix="$logs/" >"$logs/guided-$target.log" 2>&1 ||
            failed="$failed guided-$target"
        grep -h number_of_executed_units "$logs/guided-$target.log"
    done
fi

[ -z "$failed" ] || { echo "== FAILED:$failed (see $logs)"; exit 1; }
echo "== all held"
