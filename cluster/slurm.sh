#!/bin/bash
# A search on Slurm: starts Ray on all nodes of the job, runs the search on the first, and ends both. Shortly before the
# time limit the search is stopped and the job is queued again; it then resumes its study.
#
#   sbatch --nodes=4 --cpus-per-task=16 --time=04:00:00 cluster/slurm.sh search_spaces/rcn.yaml \
#       --data /shared/mtfl --study /shared/studies/rcn --leaderboard /shared/leaderboard
#
# With GPUs add --gpus-per-node=4. Submit it in the folder of the study file, with the environment of rcn-search active:
# Slurm hands both to the job. Data, study and leaderboard are in a folder that all nodes share, or at s3://….
#   RCN_SEARCH_STOP_S   seconds before the time limit at which the search is stopped; default 180
#   RCN_SEARCH_RAY_PORT first of three ports for Ray on the first node; by default one of 20000 to 29000, by job id
#SBATCH --job-name=rcn-search
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=rcn-search-%j.log
set -euo pipefail

fail() {
    echo "error: $*" >&2
    exit 2
}

[ $# -gt 0 ] || fail "no study file; usage: sbatch [options] cluster/slurm.sh STUDY.yaml --data URI --study URI"
[ -n "${SLURM_JOB_ID:-}" ] || fail "this is not a Slurm job; submit it: sbatch [options] cluster/slurm.sh $*"
command -v ray >/dev/null || fail "there is no 'ray' on the PATH; activate the environment of rcn-search before sbatch"
case " $* " in
*" --study "* | *" --study="*) ;;
*) fail "--study is missing; without it a job that is queued again would not find its study" ;;
esac

# The search is stopped by a timer of this script, so that a forgotten --signal loses nothing.
stop_s=${RCN_SEARCH_STOP_S:-180}
end=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e)
timer=
if end_s=$(date --date="$end" +%s 2>/dev/null); then # N/A without a time limit
    left_s=$((end_s - $(date +%s) - stop_s))
    [ "$left_s" -gt 0 ] || fail "the job ends at $end, too soon: the search is stopped $stop_s s before; raise --time"
    (sleep "$left_s" && kill -USR1 $$) &
    timer=$!
fi

# Not `ray symmetric-run`: it ends by `ray stop`, which kills the Ray of every other job on the node, too.
nodes=${SLURM_JOB_NUM_NODES:-1}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=${RCN_SEARCH_RAY_PORT:-$((20000 + SLURM_JOB_ID % 3000 * 3))}
# A token of this job alone: other users of the nodes cannot use its Ray.
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}
if [ "$RAY_AUTH_MODE" = token ] && [ -z "${RAY_AUTH_TOKEN:-}" ]; then
    RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    export RAY_AUTH_TOKEN
fi
resources=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --disable-usage-stats --block
    --dashboard-agent-listen-port=0)
steps=()
finish() {
    [ ${#steps[@]} -eq 0 ] || kill "${steps[@]}" 2>/dev/null || true
    [ -z "$timer" ] || kill "$timer" 2>/dev/null || true
}
trap finish EXIT
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="$address" --port="$port" --dashboard-port=$((port + 1)) \
    --ray-client-server-port=$((port + 2)) "${resources[@]}" &
steps+=($!)
if [ "$nodes" -gt 1 ]; then
    srun --overlap --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --ntasks-per-node=1 --exclude="$head" \
        ray start --address="$address:$port" "${resources[@]}" &
    steps+=($!)
fi
export RAY_ADDRESS=$address:$port
# The search plans with the nodes that are there when it starts.
python -m rcn_search.cluster.wait_for_nodes "$nodes"

python -m rcn_search.tune "$@" --auto-resume &
search=$!
is_time=no
trap 'is_time=yes; kill -TERM "$search"' USR1
trap 'kill -TERM "$search"' TERM INT
code=0
wait "$search" || code=$?
while kill -0 "$search" 2>/dev/null; do # a signal ends `wait`, not the search
    code=0
    wait "$search" || code=$?
done
[ "$is_time" = no ] || [ "$code" -eq 0 ] || {
    echo "the time limit is near: the search is stopped, and the job is queued again"
    finish
    exec scontrol requeue "$SLURM_JOB_ID"
}
exit "$code"
