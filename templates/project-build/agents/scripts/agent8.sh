#!/bin/sh
# Performance Monitor: times an application's answers, measures the machine, makes traffic.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

# percentile FILE SHARE: the value below which SHARE percent of the sorted numbers in FILE lie.
percentile() {
  _total=$(count_lines "$1")
  _rank=$(((_total * $2 + 99) / 100))
  [ "$_rank" -ge 1 ] || _rank=1
  head -n "$_rank" "$1" | tail -n 1
}

# timed FILE DIR METHOD PATH [BODY]: one request; its milliseconds go to FILE.
timed() {
  _times=$1
  shift
  _from=$(now_ms)
  request "$@"
  printf '%d\n' $(($(now_ms) - _from)) >> "$_times"
}

# performance_test: builds of an application on a data folder of their own. The times contain the
# start of a process for each request, as they do when it is served as CGI.
performance_test() {
  find_app
  requests=${MOA_PARAM_REQUESTS:-30}
  budget=${MOA_PARAM_P95_BUDGET_MS:-1000}
  whole_number requests "$requests" 1 1000
  whole_number p95_budget_ms "$budget" 1 600000
  [ -f "$APP_DIR/dist/app" ] || not_found "$APP_DIR is not built; run create_api or build first"
  bench=$WORK/perf.$$
  mkdir -p "$bench/0"
  trap 'rm -rf "$bench"' EXIT
  cp "$APP_DIR/dist/app" "$bench/0/app"
  cp "$APP_DIR/config/app.conf" "$bench/0/app.conf"
  REQUEST_DATA=$bench/data
  REQUEST_LOG=$bench/log
  n=0 errors=0
  while [ "$n" -lt "$requests" ]; do
    n=$((n + 1))
    case $((n % 3)) in
      0) timed "$bench/times" "$bench/0" GET /health ;;
      1) timed "$bench/times" "$bench/0" POST /items "{\"name\":\"item $n\"}" ;;
      2) timed "$bench/times" "$bench/0" GET "/items/$((n / 3 + 1))" ;;
    esac
    case $HTTP_STATUS in 2??) ;; *) errors=$((errors + 1)) ;; esac
  done
  sort -n "$bench/times" > "$bench/sorted"
  total=0
  while read -r ms; do total=$((total + ms)); done < "$bench/sorted"
  p95=$(percentile "$bench/sorted" 95)
  passed=true
  if [ "$p95" -gt "$budget" ] || [ "$errors" -gt 0 ]; then passed=false; fi

  result_begin
  result_bool passed "$passed"
  result_str app "$APP"
  result_num requests "$requests"
  result_num errors "$errors"
  result_num mean_ms "$((total / requests))"
  result_num p50_ms "$(percentile "$bench/sorted" 50)"
  result_num p95_ms "$p95"
  result_num max_ms "$(tail -n 1 "$bench/sorted")"
  result_num p95_budget_ms "$budget"
  result_num bytes "$(count_bytes "$APP_DIR/dist/app")"
  result_end
}

# read_machine: load, memory and disk; -1 where this system doesn't say.
read_machine() {
  load1=-1 load5=-1 memory_total=-1 memory_free=-1 disk_free=-1
  if [ -r /proc/loadavg ]; then read -r load1 load5 _ < /proc/loadavg; fi
  if [ -r /proc/meminfo ]; then
    while read -r key value _; do
      case $key in
        MemTotal:) memory_total=$value ;;
        MemAvailable:) memory_free=$value ;;
      esac
    done < /proc/meminfo
  fi
  set -- $(df -P -k . | tail -n 1)
  is_integer "${4:-x}" && disk_free=$4
  return 0
}

# collect_metrics: one row of metrics/YYYY-MM-DD.csv, and the same as the result. A repeated
# attempt finds its row and writes no second one.
collect_metrics() {
  read_machine
  find_deployed
  served=0
  if [ -n "$APP" ] && [ -f "logs/$APP.access.log" ]; then
    served=$(count_lines "logs/$APP.access.log")
  fi
  now=$(utc_now)
  file=metrics/${now%T*}.csv
  id=$(short_key)
  header=id,time,load1,load5,memory_total_kb,memory_free_kb,disk_free_kb,release,requests
  row=$id,$now,$load1,$load5,$memory_total,$memory_free,$disk_free,$RELEASE,$served
  mkdir -p metrics
  if [ ! -f "$file" ]; then printf '%s\n' "$header" | replace "$file"; fi
  known=no
  while IFS=, read -r first _; do
    if [ "$first" = "$id" ]; then known=yes; fi
  done < "$file"
  if [ "$known" = no ]; then printf '%s\n' "$row" >> "$file"; fi

  result_begin
  result_str file "$file"
  result_num load1 "$load1"
  result_num load5 "$load5"
  result_num memory_total_kb "$memory_total"
  result_num memory_free_kb "$memory_free"
  result_num disk_free_kb "$disk_free"
  result_str app "$APP"
  result_num release "$RELEASE"
  result_num requests "$served"
  result_end
}

# send_traffic: asks the deployed application what its users would ask.
send_traffic() {
  requests=${MOA_PARAM_REQUESTS:-40}
  whole_number requests "$requests" 1 1000
  find_deployed
  [ "$RELEASE" -gt 0 ] || not_found "nothing is deployed; run the workflow build-project first"
  release=$DEPLOY/releases/$RELEASE
  n=0 answered=0 refused=0 broken=0
  while [ "$n" -lt "$requests" ]; do
    n=$((n + 1))
    case $((n % 4)) in
      0) request "$release" GET /health ;;
      1) request "$release" POST /items "{\"name\":\"order $n\"}" ;;
      2) request "$release" GET /items/1 ;;
      3) request "$release" GET /items ;;
    esac
    case $HTTP_STATUS in
      2??) answered=$((answered + 1)) ;;
      4??) refused=$((refused + 1)) ;;
      *) broken=$((broken + 1)) ;;
    esac
  done
  result_begin
  result_str app "$APP"
  result_num release "$RELEASE"
  result_num requests "$requests"
  result_num answered "$answered"
  result_num refused "$refused"
  result_num broken "$broken"
  result_end
}

begin
case $MOA_ACTION in
  performance_test) performance_test ;;
  collect_metrics) collect_metrics ;;
  send_traffic) send_traffic ;;
  *) unknown_action 'performance_test, collect_metrics, send_traffic' ;;
esac
