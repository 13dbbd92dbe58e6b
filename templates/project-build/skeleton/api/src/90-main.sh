# The program: one request in, one answer out, as CGI (RFC 3875) has it. Any web server that
# speaks CGI can serve it; by hand: REQUEST_METHOD=GET PATH_INFO=/health APP_DATA=/tmp/d sh dist/app

# settings: reads config KEY=VALUE lines; unknown keys and bad values are refused.
settings() {
  ITEMS_MAX=1000
  _conf=${APP_CONFIG:-}
  [ -n "$_conf" ] || return 0
  while IFS='=' read -r _key _value || [ -n "$_key" ]; do
    case $_key in
      '' | '#'*) ;;
      items_max)
        case $_value in
          '' | *[!0-9]*) printf 'items_max must be a number: %s\n' "$_value" >&2; return 1 ;;
        esac
        ITEMS_MAX=$_value ;;
      *) printf 'unknown setting: %s\n' "$_key" >&2; return 1 ;;
    esac
  done < "$_conf"
}

millis() {
  _ns=$(date +%s%N)
  case $_ns in
    *[!0-9]*) printf '%s000' "$(date +%s)" ;;
    *) printf '%s' "${_ns%??????}" ;;
  esac
}

# access_log MILLISECONDS: one line per request: time, release, method, path, status, ms.
# A log that cannot be written is no reason to refuse the request.
access_log() {
  [ -n "${APP_LOG:-}" ] || return 0
  _path=$(printf '%s' "$PATH_INFO" | tr -c 'A-Za-z0-9/._~-' '_')
  { printf '%s %s %s %s %s %s\n' "$(date -u '+%Y-%m-%dT%H:%M:%SZ')" "$APP_RELEASE" \
    "$REQUEST_METHOD" "$_path" "${STATUS%% *}" "$1" >> "$APP_LOG"; } 2>/dev/null ||
    return 0
}

read_body() {
  REQUEST_BODY=''
  case ${CONTENT_LENGTH:-} in
    '' | *[!0-9]*) ;;
    ?????*) problem '413 Content Too Large' 'the body may have 9999 bytes at most'; return 1 ;;
    *) REQUEST_BODY=$(head -c "$CONTENT_LENGTH") ;;
  esac
}

main() {
  : "${REQUEST_METHOD:=GET}" "${PATH_INFO:=/}" "${APP_RELEASE:=0}"
  _started=$(millis)
  settings || return 78
  store_open
  if read_body; then
    route "$REQUEST_METHOD" "$PATH_INFO"
  fi
  printf 'Status: %s\r\nContent-Type: application/json\r\n\r\n%s\n' "$STATUS" "$BODY"
  access_log $(($(millis) - _started))
}

# The tests read this file for its functions and set APP_TEST.
if [ -z "${APP_TEST:-}" ]; then
  main
fi
