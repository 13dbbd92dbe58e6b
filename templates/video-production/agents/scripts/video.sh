# shellcheck shell=sh disable=SC2034 # what is set here is for those who read this file
# What the agents of the channel share: settings, time as an argument, files that are made once.
# Read after lib.sh. Needs awk beside the shell and coreutils.
#
# The state of the channel is files, each of them made whole or not at all:
#
#   data/topics/DATE.tsv      the topic of that day
#   data/used/CYCLE-NO        the day that a row of the calendar was used on
#   data/claims/VIDEO         whose attempt produces a video
#   data/videos/VIDEO/rN/     what the stages make of it; N counts its revisions
#   data/rejected/VIDEO/N     what the committee had against revision N
#   data/failures/VIDEO/RUN   a run that failed on it
#   data/ready/VIDEO.tsv      approved, waits for the upload
#   data/published/VIDEO.tsv  uploaded
#   data/quota/DAY/VIDEO      quota units of an upload
#   channel/videos/VIDEO/     the published video

FORMATS='explainer worked-example mistakes safety-brief troubleshooting quiz'

# conf NAME DEFAULT: prints a setting of channel.conf.
conf() {
  _value=''
  if [ -f channel.conf ]; then
    _value=$(sed -n "s/^$1[ $TAB]*=[ $TAB]*//p" channel.conf | tail -n 1)
  fi
  printf '%s' "${_value:-$2}"
}

# conf_number NAME DEFAULT: the same for a whole number.
conf_number() {
  _number=$(conf "$1" "$2")
  is_integer "$_number" || bad_data "channel.conf: $1 is '$_number'; a whole number is needed"
  printf '%s' "$_number"
}

# guide RULE DEFAULT: prints a rule of the style guide (a line "RULE: value" between its marks).
guide() {
  _value=''
  if [ -f CHANNEL_STYLE_GUIDE.md ]; then
    _value=$(sed -n "/^<!-- rules -->/,/^<!-- end -->/s/^- $1: //p" CHANNEL_STYLE_GUIDE.md)
  fi
  printf '%s' "${_value:-$2}"
}

# ---- Time -----------------------------------------------------------------------------------------
# Only with arithmetic, so that it is the same everywhere and `now` can be any instant.

# days_of YEAR MONTH DAY: sets DAYS, the days since 1970-01-01.
days_of() {
  _y=$1
  _m=${2#0}
  _d=${3#0}
  if [ "$_m" -le 2 ]; then _y=$((_y - 1)); fi
  _era=$((_y / 400))
  _yoe=$((_y - _era * 400))
  _doy=$(((153 * ((_m + 9) % 12) + 2) / 5 + _d - 1))
  DAYS=$((_era * 146097 + _yoe * 365 + _yoe / 4 - _yoe / 100 + _doy - 719468))
}

# date_of EPOCH: sets DATE (YYYY-MM-DD), CLOCK (HH:MM:SS) and WEEKDAY (0 = Sunday).
date_of() {
  _z=$(($1 / 86400 + 719468))
  _s=$(($1 % 86400))
  _era=$((_z / 146097))
  _doe=$((_z - _era * 146097))
  _yoe=$(((_doe - _doe / 1460 + _doe / 36524 - _doe / 146096) / 365))
  _doy=$((_doe - (365 * _yoe + _yoe / 4 - _yoe / 100)))
  _mp=$(((5 * _doy + 2) / 153))
  _d=$((_doy - (153 * _mp + 2) / 5 + 1))
  _m=$(((_mp + 2) % 12 + 1))
  _y=$((_yoe + _era * 400))
  if [ "$_m" -le 2 ]; then _y=$((_y + 1)); fi
  YEAR=$_y
  DATE=$(printf '%04d-%02d-%02d' "$_y" "$_m" "$_d")
  CLOCK=$(printf '%02d:%02d:%02d' $((_s / 3600)) $((_s / 60 % 60)) $((_s % 60)))
  WEEKDAY=$((($1 / 86400 + 4) % 7))
}

# epoch_of TIME: sets EPOCH to the seconds since 1970 of an RFC 3339 time in UTC.
epoch_of() {
  case $1 in
    [12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]*Z) ;;
    [12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]) ;;
    *) usage "'$1' is not a time such as 2026-03-01T04:00:00Z" ;;
  esac
  _rest=${1#*-}
  days_of "${1%%-*}" "${_rest%%-*}" "$(printf '%.2s' "${_rest#*-}")"
  EPOCH=$((DAYS * 86400))
  case $1 in
    *T*)
      _rest=${1#*T}
      _h=${_rest%%:*}
      _rest=${_rest#*:}
      _n=${_rest%%:*}
      _s=$(printf '%.2s' "${_rest#*:}")
      EPOCH=$((EPOCH + ${_h#0} * 3600 + ${_n#0} * 60 + ${_s#0})) ;;
  esac
}

# take_now: sets NOW, NOW_EPOCH and TODAY from the param `now`, or from the clock.
take_now() {
  NOW=${MOA_PARAM_NOW:-}
  [ -n "$NOW" ] || NOW=$(utc_now)
  epoch_of "$NOW"
  NOW_EPOCH=$EPOCH
  date_of "$NOW_EPOCH"
  TODAY=$DATE
}

# sunday_of YEAR MONTH NTH: sets DAYS to the NTH Sunday of a month.
sunday_of() {
  days_of "$1" "$2" 1
  DAYS=$((DAYS + (7 - (DAYS + 4) % 7) % 7 + ($3 - 1) * 7))
}

# pacific_day EPOCH: sets DATE to the day in California, where quota days begin and end.
pacific_day() {
  date_of "$1"
  sunday_of "$YEAR" 03 2
  _begins=$((DAYS * 86400 + 10 * 3600))
  sunday_of "$YEAR" 11 1
  _ends=$((DAYS * 86400 + 9 * 3600))
  if [ "$1" -ge "$_begins" ] && [ "$1" -lt "$_ends" ]; then
    date_of $(($1 - 7 * 3600))
  else
    date_of $(($1 - 8 * 3600))
  fi
}

# ---- Files ----------------------------------------------------------------------------------------

# write_by FILE COMMAND…: what the command prints becomes FILE, whole; if the command fails, so does the
# attempt, and FILE stays as it was. (A pipe into replace would not notice.)
write_by() {
  _written=$1
  shift
  case $_written in */*) mkdir -p "${_written%/*}" ;; esac
  "$@" > "$_written.tmp.$$"
  mv -f "$_written.tmp.$$" "$_written"
}

# make_once FILE: stdin becomes FILE if there is none yet. Fails when there is one.
make_once() {
  case $1 in */*) mkdir -p "${1%/*}" ;; esac
  cat > "$1.tmp.$$"
  if ln "$1.tmp.$$" "$1" 2>/dev/null; then
    rm -f "$1.tmp.$$"
    return 0
  fi
  rm -f "$1.tmp.$$"
  [ -e "$1" ] || fail 73 "$1 cannot be made"
  return 1
}

# column FILE NUMBER: prints a column of a file of one line.
column() { cut -f "$2" "$1"; }

# sum_of TEXT: sets SUM to a number that depends on TEXT alone, 0 to 65535.
sum_of() {
  _sum=$(printf '%s' "$1" | cksum)
  SUM=$((${_sum%% *} % 65536))
}

# has PROGRAM: whether there is such a program. VIDEO_WITHOUT names programs to do without.
has() {
  case " ${VIDEO_WITHOUT:-} " in *" $1 "*) return 1 ;; esac
  command -v "$1" > /dev/null 2>&1
}

# json_list: prints the lines of stdin as a JSON list of texts.
json_list() {
  _list=''
  while IFS= read -r _line; do
    quote "$_line"
    _list=${_list:+$_list,}$QUOTED
  done
  printf '[%s]' "$_list"
}

# ---- A video --------------------------------------------------------------------------------------

# take_video: sets VIDEO, REVISION and V, the folder that the stages of this revision work in.
take_video() {
  VIDEO=${MOA_PARAM_VIDEO:-}
  safe_name video "$VIDEO"
  REVISION=${MOA_PARAM_REVISION:-1}
  whole_number revision "$REVISION" 1 99
  V=data/videos/$VIDEO/r$REVISION
  TOPIC=data/videos/$VIDEO/topic.tsv
  [ -f "$TOPIC" ] || not_found "nobody has claimed $VIDEO: there is no $TOPIC"
}

# need FILE STAGE: a file that an earlier stage makes.
need() { [ -s "$1" ] || not_found "there is no $1; it is made by $2"; }

# read_topic FILE: sets T_DATE, T_CYCLE, T_NO, T_SLUG, T_TITLE, T_AREA, T_LEVEL, T_ATOMS,
# T_QUESTION, T_PROMISE.
read_topic() {
  IFS=$TAB read -r T_DATE T_CYCLE T_NO T_SLUG T_TITLE T_AREA T_LEVEL T_ATOMS T_QUESTION \
    T_PROMISE < "$1" || bad_data "$1 is not a topic"
}

# atom_file ID: sets ATOM to the file of a knowledge atom.
atom_file() {
  safe_name atom "$1"
  for ATOM in knowledge/*/"$1".md; do
    [ ! -f "$ATOM" ] || return 0
  done
  not_found "the knowledge base has no atom '$1'"
}

# atom_meta FILE NAME: prints a line of an atom's head.
atom_meta() { sed -n "/^## /q;s/^- $2: //p" "$1"; }
