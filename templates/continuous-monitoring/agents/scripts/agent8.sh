#!/bin/sh
# Performance Monitor: measures this machine and the service. What a system doesn't say is -1 (only
# Linux has /proc).
. "${0%/*}/lib.sh"
. "${0%/*}/service.sh"

# Where the system says how it is; a test gives another folder.
PROC=${PROC_DIR:-/proc}
COLUMNS_OF=id,time,cpu_percent,load1,cpus,memory_percent,swap_percent,disk_percent,processes,uptime_seconds,version,requests,p95_ms

# cpu_times: prints the ticks of all processors together, busy and all.
cpu_times() {
  awk '$1 == "cpu" { for (i = 2; i <= 9; i++) all += $i; print all - $5 - $6, all; exit }' "$PROC/stat"
}

# read_cpu: sets CPU, percent busy since the measurement before; without one, in one second.
read_cpu() {
  CPU=-1
  [ -r "$PROC/stat" ] || return 0
  set -- "$(cat metrics/.cpu 2>/dev/null || true)"
  if [ -z "$1" ]; then
    set -- "$(cpu_times)"
    sleep 1
  fi
  later=$(cpu_times)
  printf '%s\n' "$later" | replace metrics/.cpu
  # After a boot the counters begin anew.
  CPU=$(awk -v a="$1" -v b="$later" 'BEGIN {
    split(a, x, " "); split(b, y, " "); all = y[2] - x[2]
    printf "%.1f", (all > 0 && y[1] >= x[1] ? (y[1] - x[1]) * 100 / all : -1) }')
}

# read_machine: sets LOAD, CPUS, MEMORY, SWAP, DISK (percent used), PROCESSES, UPTIME (seconds).
read_machine() {
  LOAD=-1 CPUS=-1 MEMORY=-1 SWAP=-1 DISK=-1 PROCESSES=-1 UPTIME=-1
  if [ -r "$PROC/loadavg" ]; then read -r LOAD _ < "$PROC/loadavg"; fi
  if [ -r "$PROC/stat" ]; then CPUS=$(grep -c '^cpu[0-9]' "$PROC/stat"); fi
  if [ -r "$PROC/meminfo" ]; then
    # shellcheck disable=SC2046 # words are meant
    set -- $(awk '
      { kb[$1] = $2 }
      END {
        printf "%.1f ", kb["MemTotal:"] ? 100 - kb["MemAvailable:"] * 100 / kb["MemTotal:"] : -1
        printf "%.1f", kb["SwapTotal:"] ? 100 - kb["SwapFree:"] * 100 / kb["SwapTotal:"] : 0
      }' "$PROC/meminfo")
    MEMORY=$1
    SWAP=$2
  fi
  # shellcheck disable=SC2046 # words are meant
  set -- $(df -P -k . | tail -n 1)
  case ${5:-} in [0-9]*%) DISK=${5%\%} ;; esac
  if [ -r "$PROC/uptime" ]; then
    read -r UPTIME _ < "$PROC/uptime"
    UPTIME=${UPTIME%.*}
  fi
  _n=0
  for _one in "$PROC"/[0-9]*; do
    if [ -d "$_one" ]; then _n=$((_n + 1)); fi
  done
  if [ "$_n" -gt 0 ]; then PROCESSES=$_n; fi
}

# read_service: sets SERVED and P95 (milliseconds) of the live release, today.
read_service() {
  find_live
  SERVED=0
  P95=-1
  [ -f "logs/access-$TODAY.log" ] || return 0
  awk -v live="$LIVE" '$2 == live { print $6 }' "logs/access-$TODAY.log" | sort -n > "$WORK/times.$$"
  SERVED=$(count_lines "$WORK/times.$$")
  if [ "$SERVED" -gt 0 ]; then P95=$(sed -n "$(((SERVED * 95 + 99) / 100))p" "$WORK/times.$$"); fi
  rm -f "$WORK/times.$$"
}

# collect_metrics: a row of metrics/DAY.csv, and the same as the result. A repeated attempt finds the
# row of the one before and gives that.
collect_metrics() {
  take_now
  mkdir -p metrics
  file=metrics/$TODAY.csv
  id=$(short_key)
  row=''
  if [ -f "$file" ]; then row=$(sed -n "s/^$id,//p" "$file" | head -n 1); fi
  if [ -z "$row" ]; then
    read_cpu
    read_machine
    read_service
    row=$NOW,$CPU,$LOAD,$CPUS,$MEMORY,$SWAP,$DISK,$PROCESSES,$UPTIME,${LIVE:--},$SERVED,$P95
    [ -f "$file" ] || printf '%s\n' "$COLUMNS_OF" | replace "$file"
    printf '%s,%s\n' "$id" "$row" >> "$file"
  fi
  result_begin
  result_str file "$file"
  _names=${COLUMNS_OF#*,}
  while [ -n "$_names" ]; do
    _name=${_names%%,*}
    _value=${row%%,*}
    case $_name in
      time | version) result_str "$_name" "$_value" ;;
      *) result_num "$_name" "$_value" ;;
    esac
    case $_names in *,*) _names=${_names#*,} ;; *) _names='' ;; esac
    row=${row#*,}
  done
  result_end
}

# above NAME VALUE LIMIT TEXT: adds a problem when VALUE is above LIMIT.
above() {
  if awk -v v="$2" -v l="$3" 'BEGIN { exit !(v + 0 > l + 0) }'; then
    quote "$1: $4"
    PROBLEMS=${PROBLEMS:+$PROBLEMS,}$QUOTED
  fi
}

# check_limits: what of the last row is more than it should be.
check_limits() {
  take_now
  file=metrics/$TODAY.csv
  [ -f "$file" ] || not_found "nothing was measured on $TODAY; collect_metrics comes first"
  row=$(tail -n 1 "$file")
  IFS=, read -r _ _ cpu load cpus memory swap disk _ _ _ _ p95 << ROW
$row
ROW
  PROBLEMS=''
  above cpu "$cpu" "${MOA_PARAM_CPU_MAX:-95}" "$cpu % busy"
  if [ "$cpus" -gt 0 ]; then
    above load "$load" "$((${MOA_PARAM_LOAD_MAX_PER_CPU:-4} * cpus))" "$load on $cpus processors"
  fi
  above memory "$memory" "${MOA_PARAM_MEMORY_MAX:-92}" "$memory % used"
  above swap "$swap" "${MOA_PARAM_SWAP_MAX:-80}" "$swap % used"
  above disk "$disk" "${MOA_PARAM_DISK_MAX:-90}" "$disk % used"
  above latency "$p95" "${MOA_PARAM_P95_MAX:-1000}" "$p95 ms for the slowest twentieth"
  result_begin
  result_raw problems "[$PROBLEMS]"
  result_bool ok "$([ -z "$PROBLEMS" ] && printf true || printf false)"
  result_end
}

begin
case $MOA_ACTION in
  collect_metrics) collect_metrics ;;
  check_limits) check_limits ;;
  *) unknown_action 'collect_metrics, check_limits' ;;
esac
