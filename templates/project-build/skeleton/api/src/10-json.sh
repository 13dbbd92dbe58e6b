# JSON in and out, as much of it as this service needs.

# json_quote TEXT: sets JSON to TEXT as a JSON string. Control characters become spaces.
json_quote() {
  JSON=''
  _left=$(printf '%s' "$1" | tr '\000-\037\177' ' ')
  while :; do
    _part=${_left%%[\"\\]*}
    JSON=$JSON$_part
    _left=${_left#"$_part"}
    case $_left in
      '') break ;;
      \"*) JSON="$JSON\\\"" ;;
      *) JSON="$JSON\\\\" ;;
    esac
    _left=${_left#?}
  done
  JSON="\"$JSON\""
}

# json_field KEY TEXT: sets FIELD to the string under KEY of the flat JSON object TEXT.
# False when it isn't there or isn't a plain string.
json_field() {
  case $2 in
    *"\"$1\""*) ;;
    *) return 1 ;;
  esac
  _left=${2#*"\"$1\""}
  while :; do
    case $_left in
      [\ :]*) _left=${_left#?} ;;
      *) break ;;
    esac
  done
  case $_left in
    \"*) _left=${_left#\"} ;;
    *) return 1 ;;
  esac
  FIELD=''
  while :; do
    _part=${_left%%[\"\\]*}
    FIELD=$FIELD$_part
    _left=${_left#"$_part"}
    case $_left in
      \"*) return 0 ;;
      '\"'*) FIELD="$FIELD\"" ;;
      '\\'*) FIELD="$FIELD\\" ;;
      '\/'*) FIELD="$FIELD/" ;;
      *) return 1 ;;
    esac
    _left=${_left#??}
  done
}
