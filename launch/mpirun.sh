#!/usr/bin/env bash
# Start a script with Open MPI's mpirun, which starts processes on other machines by itself, over ssh:
#
#     bash launch/mpirun.sh train.py --epochs 3
#
# Edit what is marked with EDIT, or give it in the environment. Nothing else of MPI is used: torch needs no MPI backend.
set -euo pipefail

# EDIT: how many ranks in all, and on which machines: "first:8,second:8". Empty: on this one.
RANKS="${RANKS:-2}"
HOSTS="${HOSTS:-}"
# EDIT: an address of the machine that has rank 0, the first of HOSTS, and a port of it that is free.
MASTER_ADDR="${MASTER_ADDR:-127.0.0.1}"
MASTER_PORT="${MASTER_PORT:-29500}"
# EDIT: the network interface by which the machines reach each other; `ip -brief address` lists them.
INTERFACE="${INTERFACE:-lo}"
# EDIT: the Python of all machines, and the folder for what each rank prints.
PYTHON="${PYTHON:-python}"
LOGS="${LOGS:-runs/mpirun}"

export MASTER_ADDR MASTER_PORT PYTHON GLOO_SOCKET_IFNAME="$INTERFACE" NCCL_SOCKET_IFNAME="$INTERFACE"
[ $# -gt 0 ] || set -- launch/train.py
# `--bind-to none`: or each rank, with all of its threads, is kept on one core.
# shellcheck disable=SC2016 # each rank has its own OMPI_COMM_WORLD_RANK
exec mpirun -np "$RANKS" ${HOSTS:+--host "$HOSTS"} --bind-to none --tag-output --output-filename "$LOGS" \
    -x MASTER_ADDR -x MASTER_PORT -x PYTHON -x GLOO_SOCKET_IFNAME -x NCCL_SOCKET_IFNAME bash -c '
    export RANK="$OMPI_COMM_WORLD_RANK" WORLD_SIZE="$OMPI_COMM_WORLD_SIZE" LOCAL_RANK="$OMPI_COMM_WORLD_LOCAL_RANK"
    exec "$PYTHON" -u "$@"' rank "$@"
