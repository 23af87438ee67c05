#!/bin/bash
#SBATCH --job-name=image-batch-console
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
# A run over four nodes: sbatch build/cluster/slurm.sh PICTURES OUTPUT, from a folder that all nodes see and in which
# .venv has the extra `cluster`. What is not done when the time is over goes on with the same command.
# CLUSTER_FOLDER: certificates by make_certificates.sh; the pictures are read by each node where it sees them.
set -u
pictures=${1:?pictures} output=${2:?output}
certificates=${CLUSTER_FOLDER:-$PWD/build/cluster/certificates}
python=${PYTHON_BIN:-.venv/bin/python}
# Where there is no Slurm, the same processes on this machine.
launch=${SLURM_JOB_ID:+srun --overlap}
file=$(mktemp -p "$PWD" scheduler-XXXXXX.json) && rm -f "$file"

tls="--tls-ca-file $certificates/ca.pem --tls-cert $certificates/machine.pem --tls-key $certificates/machine.key"
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0
trap 'kill $(jobs -p) 2>/dev/null; rm -f "$file"' EXIT
# shellcheck disable=SC2086 - several words
"$python" -m distributed.cli.dask_scheduler --protocol tls --port 0 --no-dashboard --scheduler-file "$file" $tls &
until [ -s "$file" ]; do sleep 0.2; done
# shellcheck disable=SC2086
$launch "$python" -m distributed.cli.dask_worker --scheduler-file "$file" --nthreads 4 --no-dashboard $tls &

export CLUSTER_CA=$certificates/ca.pem CLUSTER_CERT=$certificates/machine.pem CLUSTER_KEY=$certificates/machine.key
address=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' "$file")
"$python" launcher.py run "$pictures" -o "$output" --cluster "$address" ${RUN_FLAGS:-}
