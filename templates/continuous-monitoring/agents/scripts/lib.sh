# shellcheck shell=sh disable=SC2034,SC1003 # what is set here is for those who read this file
# What the agents of this project share: messages, results as JSON, small arithmetic.
# POSIX shell and coreutils only. An agent begins with `. "${0%/*}/lib.sh"`, then `begin`.
#
# Exit codes: 0 done, 75 "try me again later", 64 to 74 "never like this" (sysexits.h).
# What an agent prints to stderr is the attempt's log; its result goes to $MOA_OUTPUT.

set -eu
LC_ALL=C
export LC_ALL
umask 022
NL='
'
TAB='	'

log() { printf '%s\n' "$*" >&2; }

# fail CODE MESSAGE: ends the attempt.
fail() {
  _code=$1
  shift
  log "error: $*"
  exit "$_code"
}

usage() { fail 64 "$@"; }       # the question is wrong
bad_data() { fail 65 "$@"; }    # the data is wrong
not_found() { fail 66 "$@"; }   # something that is needed isn't there
later() {
  log "later: $*"
  exit 75
}

unknown_action() {
  usage "action '${MOA_ACTION:-}' is not known here; known: $1"
}

# begin: goes to the project's folder and takes the request from stdin.
begin() {
  cd "${MOA_PROJECT:-.}" || fail 66 "no project folder at '${MOA_PROJECT:-.}'"
  : "${MOA_ACTION:?the action to do; set by moa}"
  RUN=${MOA_RUN_ID:-by-hand}
  STEP=${MOA_STEP:-$MOA_ACTION}
  KEY=${MOA_IDEMPOTENCY_KEY:-$RUN/$STEP/${MOA_ITERATION:-0}}
  WORK=${MOA_WORK_DIR:-.moa/work/$RUN}
  REQUEST='{}'
  [ -t 0 ] || REQUEST=$(cat)
  case $WORK in "$PWD"/*) WORK=${WORK#"$PWD"/} ;; esac
  mkdir -p "$WORK"
}

# short_key: the idempotency key as something that can be part of a file's name.
short_key() {
  _sum=$(printf '%s' "$KEY" | sha256sum)
  printf '%.16s' "$_sum"
}

# replace FILE: stdin becomes FILE, whole or not at all.
replace() {
  case $1 in */*) mkdir -p "${1%/*}" ;; esac
  cat > "$1.tmp.$$"
  mv -f "$1.tmp.$$" "$1"
}

# list_files DIR: every regular file beneath DIR, sorted, one a line. Links are not followed.
list_files() (
  for _entry in "$1"/* "$1"/.[!.]*; do
    if [ -L "$_entry" ]; then
      continue
    elif [ -d "$_entry" ]; then
      list_files "$_entry"
    elif [ -f "$_entry" ]; then
      printf '%s\n' "$_entry"
    fi
  done
)

count_lines() { _n=$(wc -l < "$1") && printf '%d' "$_n"; }
count_bytes() { _n=$(wc -c < "$1") && printf '%d' "$_n"; }

utc_now() { date -u '+%Y-%m-%dT%H:%M:%SZ'; }

# now_ms: milliseconds of some clock; from /proc/uptime where date knows no nanoseconds.
now_ms() {
  _ns=$(date +%s%N)
  case $_ns in
    *[!0-9]*)
      if read -r _up _ 2>/dev/null < /proc/uptime; then
        printf '%s0' "${_up%.*}${_up#*.}"
      else
        printf '%s000' "$(date +%s)"
      fi ;;
    *) printf '%s' "${_ns%??????}" ;;
  esac
}

# ratio A B: A/B with four decimals (0.0000 when B is 0).
ratio() {
  if [ "$2" -eq 0 ]; then
    printf '0.0000'
  else
    _r=$(($1 * 10000 / $2))
    printf '%d.%04d' $((_r / 10000)) $((_r % 10000))
  fi
}

# is_integer TEXT, in_range VALUE MIN MAX: for params that should be whole numbers.
is_integer() {
  case ${1#-} in
    '' | *[!0-9]* | ??????????*) return 1 ;;
  esac
}

whole_number() { # whole_number NAME VALUE MIN MAX
  is_integer "$2" || usage "param '$1' is '$2'; a whole number is needed"
  if [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
    usage "param '$1' is $2; it may be from $3 to $4"
  fi
}

# safe_name NAME VALUE: a name that is safe as a file's name.
safe_name() {
  case $2 in
    '' | [!a-z0-9]* | *[!a-z0-9-]* | ?????????????????????????????????????????????????????????????????*)
      usage "param '$1' is '$2'; use 1 to 64 of a-z, 0-9 and -, starting with a letter or digit" ;;
  esac
}

# ---- Results as JSON ---------------------------------------------------------------------------
# result_begin; result_str KEY TEXT; result_num KEY NUMBER; result_bool KEY true|false;
# result_raw KEY JSON; result_end.

result_begin() { RESULT=''; }
result_raw() { RESULT="${RESULT:+$RESULT,}\"$1\":$2"; }
result_num() { result_raw "$1" "$2"; }
result_bool() { result_raw "$1" "$2"; }
result_str() {
  quote "$2"
  result_raw "$1" "$QUOTED"
}
result_end() {
  if [ -n "${MOA_OUTPUT:-}" ]; then
    printf '{%s}\n' "$RESULT" > "$MOA_OUTPUT"
  else
    printf '{%s}\n' "$RESULT"
  fi
}

# quote TEXT: sets QUOTED to TEXT as a JSON string, whatever bytes it is made of.
quote() {
  case $1 in
    *[!\ -~]*) quote_bytes "$1" ;;
    *[\\\"]*)
      _rest=$1
      QUOTED=''
      while :; do
        _chunk=${_rest%%[\\\"]*}
        QUOTED=$QUOTED$_chunk
        _rest=${_rest#"$_chunk"}
        case $_rest in
          '') break ;;
          \"*) QUOTED="$QUOTED\\\"" ;;
          *) QUOTED="$QUOTED\\\\" ;;
        esac
        _rest=${_rest#?}
      done
      QUOTED="\"$QUOTED\"" ;;
    *) QUOTED="\"$1\"" ;;
  esac
}

# The slow way, byte by byte: control characters are escaped, what isn't UTF-8 becomes U+FFFD.
quote_bytes() {
  _text=''
  _held=''
  _need=0
  for _b in $(printf '%s' "$1" | od -An -v -tu1); do
    if [ "$_need" -gt 0 ]; then
      if [ "$_b" -ge "$_low" ] && [ "$_b" -le "$_high" ]; then
        octal "$_b"
        _held=$_held$OCTAL
        _need=$((_need - 1))
        _low=128
        _high=191
        if [ "$_need" -eq 0 ]; then _text=$_text$_held; fi
        continue
      fi
      _need=0
      _text="$_text\\\\ufffd"
    fi
    octal "$_b"
    _held=$OCTAL
    _low=128
    _high=191
    case $_b in
      10) _text="$_text\\\\n" ;;
      9) _text="$_text\\\\t" ;;
      13) _text="$_text\\\\r" ;;
      34) _text="$_text\\\\\"" ;;
      92) _text="$_text\\\\\\\\" ;;
      *)
        if [ "$_b" -lt 32 ] || [ "$_b" -eq 127 ]; then
          _text="$_text\\\\u00$(printf '%02x' "$_b")"
        elif [ "$_b" -lt 127 ]; then
          _text=$_text$OCTAL
        elif [ "$_b" -ge 194 ] && [ "$_b" -le 223 ]; then
          _need=1
        elif [ "$_b" -ge 224 ] && [ "$_b" -le 239 ]; then
          _need=2
          if [ "$_b" -eq 224 ]; then _low=160; fi
          if [ "$_b" -eq 237 ]; then _high=159; fi
        elif [ "$_b" -ge 240 ] && [ "$_b" -le 244 ]; then
          _need=3
          if [ "$_b" -eq 240 ]; then _low=144; fi
          if [ "$_b" -eq 244 ]; then _high=143; fi
        else
          _text="$_text\\\\ufffd"
        fi ;;
    esac
  done
  if [ "$_need" -gt 0 ]; then _text="$_text\\\\ufffd"; fi
  QUOTED="\"$(printf '%b' "$_text")\""
}

octal() { OCTAL="\\0$(($1 / 64))$(($1 / 8 % 8))$(($1 % 8))"; }

# ---- Reading the request -----------------------------------------------------------------------
# Scalar params come as MOA_PARAM_NAME, so most agents never need this. `request_get PATH` sets
# VALUE to one scalar of the request, e.g. `.inputs.scaffold.path`; `input_get KEY` to the KEY of
# the first input that has one.

request_get() {
  request_flatten
  case $FLAT in
    *"$NL$1="*) ;;
    *) return 1 ;;
  esac
  VALUE=${FLAT#*"$NL$1="}
  unquote "${VALUE%%"$NL"*}"
}

input_get() {
  request_flatten
  case $FLAT in
    *"$NL.inputs."*".$1="*) ;;
    *) return 1 ;;
  esac
  _left=$FLAT
  while :; do
    case $_left in
      *"$NL.inputs."*) ;;
      *) return 1 ;;
    esac
    _left=${_left#*"$NL.inputs."}
    _line=${_left%%"$NL"*}
    _path=${_line%%=*}
    if [ "${_path#*.}" = "$1" ]; then
      unquote "${_line#*=}"
      return 0
    fi
    _left=$NL$_left
  done
}

# unquote RAW: sets VALUE to a raw JSON scalar's text. \u beyond ASCII stays as it is written.
unquote() {
  case $1 in
    \"*) VALUE=${1#\"} ;;
    *) VALUE=$1; return 0 ;;
  esac
  case $VALUE in
    *\\*) ;;
    *) return 0 ;;
  esac
  _rest=$VALUE
  VALUE=''
  while :; do
    case $_rest in
      *\\*) ;;
      *) break ;;
    esac
    VALUE=$VALUE${_rest%%\\*}
    _rest=${_rest#*\\}
    case $_rest in
      n*) VALUE=$VALUE$NL ;;
      t*) VALUE=$VALUE$TAB ;;
      [bfr]*) VALUE="$VALUE " ;;
      u*) VALUE="$VALUE\\u" ;;
      \"*) VALUE="$VALUE\"" ;;
      \\*) VALUE="$VALUE\\" ;;
      /*) VALUE="$VALUE/" ;;
    esac
    _rest=${_rest#?}
  done
  VALUE=$VALUE$_rest
}

# request_flatten: sets FLAT to the request as lines PATH=SCALAR (strings keep their first quote).
request_flatten() {
  [ -z "${FLAT:-}" ] || return 0
  FLAT=$NL
  _j=$REQUEST
  flatten_value '' || log "note: the request is not JSON as it should be"
}

flatten_space() {
  while :; do
    case $_j in
      [\ $TAB$NL]*) _j=${_j#?} ;;
      *) return 0 ;;
    esac
  done
}

flatten_string() { # sets _s
  _s=''
  _j=${_j#\"}
  while :; do
    _chunk=${_j%%[\"\\]*}
    _s=$_s$_chunk
    _j=${_j#"$_chunk"}
    case $_j in
      \"*) _j=${_j#?}; return 0 ;;
      '\\'*) _s="$_s\\\\"; _j=${_j#??} ;;
      '\"'*) _s="$_s\\\""; _j=${_j#??} ;;
      \\*) _s="$_s\\"; _j=${_j#?} ;;
      *) return 1 ;;
    esac
  done
}

flatten_value() { # flatten_value PATH
  flatten_space
  case $_j in
    \"*)
      flatten_string || return 1
      FLAT="$FLAT$1=\"$_s$NL" ;;
    \{*)
      _j=${_j#?}
      flatten_space
      case $_j in \}*) _j=${_j#?}; return 0 ;; esac
      while :; do
        flatten_space
        flatten_string || return 1
        flatten_space
        _j=${_j#:}
        flatten_value "$1.$_s" || return 1
        flatten_space
        case $_j in
          ,*) _j=${_j#?} ;;
          \}*) _j=${_j#?}; return 0 ;;
          *) return 1 ;;
        esac
      done ;;
    \[*)
      _j=${_j#?}
      flatten_space
      case $_j in \]*) _j=${_j#?}; return 0 ;; esac
      set -- "$1" 0
      while :; do
        flatten_value "$1.$2" || return 1
        set -- "$1" $(($2 + 1))
        flatten_space
        case $_j in
          ,*) _j=${_j#?} ;;
          \]*) _j=${_j#?}; return 0 ;;
          *) return 1 ;;
        esac
      done ;;
    [-0-9tfn]*)
      _s=${_j%%[],\} "$TAB$NL"]*}
      _j=${_j#"$_s"}
      FLAT="$FLAT$1=$_s$NL" ;;
    *) return 1 ;;
  esac
}
