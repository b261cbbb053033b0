#!/usr/bin/env bash
# A SLURM of one node on the loopback interface, for tests. Everything it writes lies in one folder; needs root.
#
#   slurm.sh start FOLDER        munged, slurmctld, slurmd with four stand-ins for GPUs; prints the shell's exports
#   slurm.sh start-node FOLDER   slurmd alone, after
#   slurm.sh stop-node FOLDER    slurmd and its jobs, at once and without warning
#   slurm.sh stop FOLDER         everything that start began, by the process ids it wrote down
#
# Debian: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
set -euo pipefail
verb=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

configure() {
  mkdir -p "$folder"/{log,pid,state,spool,munge,devices,bin}
  chmod 755 "$folder" "$folder/munge"
  cat > "$folder/slurm.conf" <<EOF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
# On the loopback interface only, beside whatever SLURM the machine has.
SlurmctldPort=16817
SlurmdPort=16818
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
# cred_expire: a job that is queued again starts after so many seconds, 120 otherwise.
AuthInfo=socket=$folder/munge/munge.sock,cred_expire=30
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/pid/slurmctld.own
SlurmdPidFile=$folder/pid/slurmd.own
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
# No cgroups: limits are kept by looking every second, and a job over its memory is killed.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
KillWait=2
# Ended jobs are remembered for a day (scontrol show job).
MinJobAge=86400
# A node that does not answer for so many seconds is down, and its jobs are queued again.
SlurmdTimeout=10
# The node says more than the machine has, so that jobs which mostly wait run side by side.
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 NodeHostname=$host CPUs=16 Boards=1 SocketsPerBoard=1 CoresPerSocket=16 ThreadsPerCore=1 RealMemory=64000 Gres=gpu:4
# The names of profiles/slurm/partitions.yaml.
PartitionName=cpu Nodes=$host Default=YES
PartitionName=gpu Nodes=$host
EOF
  # SLURM hands out device files only, so a GPU is a twin of /dev/null.
  for number in 0 1 2 3; do
    [ -c "$folder/devices/gpu$number" ] || mknod "$folder/devices/gpu$number" c 1 3
    echo "NodeName=$host Name=gpu File=$folder/devices/gpu$number"
  done > "$folder/gres.conf"
  # The executor's inner srun loses SLURM_CONF with most variables of SLURM, and would look for the machine's own file.
  printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$folder/bin/srun"
  chmod 755 "$folder/bin/srun"
  [ -s "$folder/munge/key" ] || (umask 077; dd if=/dev/urandom of="$folder/munge/key" bs=128 count=1 status=none)
}

spawn() {  # NAME COMMAND...: in a session of its own, so that an interrupt of the tests does not reach it
  setsid "${@:2}" > "$folder/log/$1.out" 2>&1 < /dev/null &
  echo $! > "$folder/pid/$1"
}

until_it_answers() {
  for _ in $(seq 150); do
    timeout 5 "$@" > /dev/null 2>&1 && return
    sleep 0.2
  done
  echo "gave up on: $*; see $folder/log" >&2
  exit 1
}

end() {  # NAME SIGNAL
  [ -s "$folder/pid/$1" ] || return 0
  local process
  process=$(cat "$folder/pid/$1")
  kill "-$2" "$process" 2> /dev/null || true
  for _ in $(seq 50); do kill -0 "$process" 2> /dev/null && sleep 0.2 || break; done
  rm -f "$folder/pid/$1"
}

start_node() {
  spawn slurmd slurmd -D -N "$host"
  until_it_answers sh -c "sinfo --noheader --Node --format=%t | grep -qx -e idle -e mix -e alloc"
}

end_jobs() {  # every process that this SLURM began for a job
  local process
  for process in /proc/[0-9]*; do
    grep -qzxF "SLURM_CONF=$SLURM_CONF" "$process/environ" 2> /dev/null || continue
    if grep -qz '^SLURM_JOB_ID=' "$process/environ" || [ "$(cat "$process/comm")" = slurmstepd ]; then
      kill -KILL "${process#/proc/}" 2> /dev/null || true
    fi
  done
}

case $verb in
  start)
    configure
    spawn munged munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/munge.sock" \
      --pid-file="$folder/munge/pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed" --num-threads=2
    until_it_answers sh -c "munge --socket='$folder/munge/munge.sock' --no-input | unmunge --socket='$folder/munge/munge.sock'"
    spawn slurmctld slurmctld -D -i
    until_it_answers scontrol ping
    start_node
    # What it hands out as a GPU is none.
    printf 'export PALIMPSEST_DEVICE=cpu SLURM_CONF=%q PATH=%q:"$PATH"\n' "$SLURM_CONF" "$folder/bin"
    ;;
  start-node) start_node ;;
  stop-node)
    end slurmd KILL
    end_jobs
    ;;
  stop)
    scancel --user=root 2> /dev/null || true
    for name in slurmd slurmctld munged; do end "$name" TERM; done
    ;;
  *)
    echo "usage: $0 start|start-node|stop-node|stop FOLDER" >&2
    exit 2
    ;;
esac
