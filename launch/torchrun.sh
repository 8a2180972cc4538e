#!/usr/bin/env bash
# Start a script on this machine, in several processes:
#
#     bash launch/torchrun.sh train.py --epochs 3
#
# Edit what is marked with EDIT, or give it in the environment: RANKS=2 bash launch/torchrun.sh train.py
set -euo pipefail

# EDIT: how many processes; `auto` is one for each GPU, or for each core where there is no GPU.
RANKS="${RANKS:-auto}"
# EDIT: the folder for what each rank prints. Every run has a folder of its own in it.
LOGS="${LOGS:-runs/logs}"

# Everything stays inside of this machine, so no name of it has to be looked up.
export GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-lo}"
[ $# -gt 0 ] || set -- launch/train.py
exec torchrun --standalone --local-addr localhost --nproc-per-node "$RANKS" --log-dir "$LOGS" --tee 3 "$@"
