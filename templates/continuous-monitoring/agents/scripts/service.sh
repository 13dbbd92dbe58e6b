# shellcheck shell=sh disable=SC2034 # what is set here is for those who read this file
# The service that is watched, and where its releases, its log and what is known of them are kept.
# Read after lib.sh. Needs awk and sed beside the shell and coreutils.
#
#   service/releases/VERSION      its releases, as they were shipped
#   service/current               a link to the one that is live
#   service/history               what was live since when: version, time
#   service/bad/VERSION           a release that was taken back
#   logs/access-DAY.log           what it was asked: time, version, method, path, status, ms
#   metrics/DAY.csv               what was measured, a row each time
#   incidents/open/KIND           what is wrong at present

SERVICE=service

# find_live: sets LIVE to the version that is live, or to nothing.
find_live() {
  LIVE=''
  if [ -L "$SERVICE/current" ]; then
    LIVE=$(readlink "$SERVICE/current")
    LIVE=${LIVE##*/}
  fi
}

# version_name NAME VALUE: a version, safe as the name of a folder.
version_name() {
  case $2 in
    '' | [!0-9]* | *[!0-9.]* | *..* | ?????????????????????*)
      usage "param '$1' is '$2'; a version is digits and dots, such as 1.2.0" ;;
  esac
}

# take_now: sets NOW from the param `now`, or from the clock, and TODAY.
take_now() {
  NOW=${MOA_PARAM_NOW:-}
  [ -n "$NOW" ] || NOW=$(utc_now)
  case $NOW in
    [12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]*Z) ;;
    *) usage "'$NOW' is not a time such as 2026-03-01T04:00:00Z" ;;
  esac
  # The log knows whole seconds, and its times are compared as texts.
  case $NOW in *.*) NOW=${NOW%%.*}Z ;; esac
  TODAY=${NOW%%T*}
}

# request VERSION METHOD PATH QUERY: asks a release as a web server would. Sets STATUS and BODY.
request() {
  _answer=$(REQUEST_METHOD=$2 PATH_INFO=$3 QUERY_STRING=$4 sh "$SERVICE/releases/$1/quote.sh") ||
    _answer='Status: 502 Bad Gateway'
  STATUS=${_answer#Status: }
  STATUS=${STATUS%% *}
  BODY=${_answer##*"$NL"}
}

# serve METHOD PATH QUERY: lets the live release answer a visitor, and logs it.
serve() {
  _from=$(now_ms)
  request "$LIVE" "$1" "$2" "$3"
  _took=$(($(now_ms) - _from))
  _at=$(utc_now)
  # One write of one short line: lines of several visitors never mix.
  printf '%s %s %s %s %s %d\n' "$_at" "$LIVE" "$1" "$2${3:+?$3}" "$STATUS" "$_took" \
    >> "logs/access-${_at%%T*}.log"
}

# healthy VERSION: whether a release answers at all. What it answers, only its users will find out.
healthy() {
  request "$1" GET /health ''
  if [ "$STATUS" != 200 ]; then
    log "$1: GET /health answers $STATUS"
    return 1
  fi
}
