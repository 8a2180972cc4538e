#!/usr/bin/env bash
# Start a script on several machines. Run the same command on each of them, within a few minutes:
#
#     bash launch/torchrun_hosts.sh train.py --epochs 3
#
# Edit what is marked with EDIT, or give it in the environment.
set -euo pipefail

# EDIT: the address of the first machine, as a number, and a port of it that is free and that the others can reach.
FIRST="${FIRST:-10.0.0.1}"
PORT="${PORT:-29500}"
# EDIT: the network interface by which the machines reach each other; `ip -brief address` lists them.
INTERFACE="${INTERFACE:-eth0}"
# EDIT: how many machines, and how many processes on each (`auto`: one for each GPU, or for each core without GPUs).
# "1:2" goes on with one machine when the other is lost, if RESTARTS is 1 or more, and the script resumes by itself as
# launch/elastic.py does.
HOSTS="${HOSTS:-2}"
RANKS="${RANKS:-auto}"
RESTARTS="${RESTARTS:-0}"
# EDIT: the name of this run: the same on all machines, and another one for the next run.
JOB="${JOB:-job1}"
# EDIT: how many seconds a machine waits for the others at the start, and the folder for what each rank prints.
PATIENCE="${PATIENCE:-600}"
LOGS="${LOGS:-runs/logs}"

HERE="$(ip -4 -oneline address show dev "$INTERFACE" 2>/dev/null | awk '{sub("/.*", "", $4); print $4; exit}')" || true
if [ -z "$HERE" ]; then
    echo "$0: INTERFACE=$INTERFACE has no IPv4 address on this machine. It has:" >&2
    ip -4 -brief address >&2
    exit 2
fi

# Without these two, torchrun looks up the name of this machine: to find out whether it is the first one, and to tell
# the others how to reach it. Where that name is not known, or is an address of loopback, no machine finds the others.
STORE="is_host=$([ "$HERE" = "$FIRST" ] && echo true || echo false)"
# torchrun takes a machine for lost whose last word is 15 s old by the clock of another. Where clocks differ by more, one
# may start alone, or never end. Where no machine may be lost that is of no use, so it is a day there.
case "$HOSTS" in *:*) ALIVE=3 ;; *) ALIVE=17280 ;; esac
# Without these, gloo looks up the name too, and NCCL takes the first interface that it finds.
export GLOO_SOCKET_IFNAME="$INTERFACE" NCCL_SOCKET_IFNAME="$INTERFACE"
# With gloo, processes that are started again must not find what those before them have left in the store.
[ "$RESTARTS" = 0 ] || export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

[ $# -gt 0 ] || set -- launch/train.py
exec torchrun --nnodes "$HOSTS" --nproc-per-node "$RANKS" --max-restarts "$RESTARTS" \
    --rdzv-backend c10d --rdzv-endpoint "$FIRST:$PORT" --rdzv-id "$JOB" \
    --rdzv-conf "$STORE,keep_alive_max_attempt=$ALIVE,join_timeout=$PATIENCE,read_timeout=$PATIENCE" \
    --local-addr "$HERE" \
    --log-dir "$LOGS" --tee 3 "$@"
