#!/usr/bin/env bash
# Start a script on a Slurm cluster, one task for each rank. From the folder that the script is to run in:
#
#     mkdir -p runs && sbatch launch/slurm.sh train.py --epochs 3
#
# EDIT: machines, ranks on each, cores of a rank, time. Options of sbatch on the command line go before these.
#SBATCH --job-name=train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --output=runs/slurm-%j.log
# EDIT: remove one # for a GPU for each rank.
##SBATCH --gpus-per-task=1
set -euo pipefail

# EDIT: whatever makes the right Python the first one: `module load`, `source .venv/bin/activate`.
PYTHON="${PYTHON:-python}"
# EDIT: the network interface by which the nodes reach each other, on all of them: `srun ip -brief address`. Empty:
# gloo looks up the name of the node, and NCCL takes the first interface that it finds.
INTERFACE="${INTERFACE:-}"
# EDIT: the folder for what each rank prints.
LOGS="${LOGS:-runs/slurm-$SLURM_JOB_ID}"

mkdir -p "$LOGS"
if [ -n "$INTERFACE" ]; then
    export GLOO_SOCKET_IFNAME="$INTERFACE" NCCL_SOCKET_IFNAME="$INTERFACE"
fi
MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
MASTER_PORT="${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 10000))}" # two jobs that share a node have different ones
export MASTER_ADDR MASTER_PORT PYTHON

[ $# -gt 0 ] || set -- launch/train.py
# A rank that fails ends the others (--kill-on-bad-exit); they would wait for it otherwise.
# shellcheck disable=SC2016 # each task has its own SLURM_PROCID
srun --kill-on-bad-exit=1 --output="$LOGS/rank-%t.log" bash -c '
    export RANK="$SLURM_PROCID" WORLD_SIZE="$SLURM_NTASKS" LOCAL_RANK="$SLURM_LOCALID"
    exec "$PYTHON" -u "$@"' rank "$@"
