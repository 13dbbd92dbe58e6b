#!/bin/sh
# Security Scanner: looks for secrets, dangerous shell and loose permissions in an application's
# sources. `passed` is false when a finding of severity high is among them; the step itself
# succeeds, so that a condition can decide. A line that is meant to be so ends in `# scan:allow`.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

FILE_BYTES_MAX=1048576
SHOWN_MAX=100

finding() { # finding SEVERITY RULE FILE LINE
  case $1 in
    high) high=$((high + 1)) ;;
    *) medium=$((medium + 1)) ;;
  esac
  [ $((high + medium)) -le "$SHOWN_MAX" ] || return 0
  log "$1: $2: $3:$4"
  quote "${3#"$APP_DIR"/}"
  findings="${findings:+$findings,}{\"severity\":\"$1\",\"rule\":\"$2\",\"file\":$QUOTED,\"line\":$4}"
}

scan_secrets() { # scan_secrets FILE LINE TEXT
  case $3 in
    *AKIA[0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z]*)
      finding high aws-key "$1" "$2" ;;
  esac
  case $3 in
    *'-----BEGIN '*'PRIVATE KEY-----'*) finding high private-key "$1" "$2" ;;
  esac
  case $3 in
    *ghp_????????????????* | *github_pat_* | *xox[abp]-????????* | *glpat-????????*)
      finding high access-token "$1" "$2" ;;
  esac
  case $3 in
    *hooks.slack.com/services/[A-Z0-9]*) finding high webhook-address "$1" "$2" ;;
  esac
  case $3 in
    *[Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd]=[!\$\"\'\ ]* | *[Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd]=[\"\'][!\$\"\']*)
      finding high password "$1" "$2" ;;
  esac
}

scan_shell() { # scan_shell FILE LINE TEXT
  case $3 in
    *[!a-zA-Z0-9_-]eval\ * | eval\ *) finding high eval "$1" "$2" ;;
  esac
  case $3 in
    *'rm -rf /'[\ \;]* | *'rm -rf /' | *'rm -rf $'*) finding high careless-rm "$1" "$2" ;;
  esac
  case $3 in
    *curl*\|*sh* | *wget*\|*sh*) finding high pipe-to-shell "$1" "$2" ;;
  esac
  case $3 in
    *'chmod 777'* | *'chmod -R 777'* | *'chmod a+w'*) finding high world-writable "$1" "$2" ;;
  esac
  case $3 in
    */tmp/*'$$'*) finding medium predictable-temp-file "$1" "$2" ;;
  esac
}

scan_file() {
  number=0
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    case $line in
      *'# scan:allow') allowed=$((allowed + 1)); continue ;;
    esac
    scan_secrets "$1" "$number" "$line"
    case $1 in
      *.sh)
        case $line in
          [\ ]*'#'* | '#'*) case ${line%%'#'*} in *[!\ ]*) ;; *) continue ;; esac ;;
        esac
        scan_shell "$1" "$number" "$line" ;;
    esac
  done < "$1"
  lines=$((lines + number))
}

scan_mode() {
  mode=$(ls -ld "$1")
  case ${mode%% *} in
    ????????w*) finding high file-world-writable "$1" 0 ;;
  esac
  case ${mode%% *} in
    ???[sS]* | ??????[sS]*) finding high file-setuid "$1" 0 ;;
  esac
}

security_scan() {
  find_app
  high=0 medium=0 allowed=0 files=0 lines=0 skipped=0 findings=''
  list_files "$APP_DIR" > "$WORK/scan.$$.txt"
  while read -r file; do
    case $file in
      "$APP_DIR"/dist/*) continue ;;
      */.env | */.env.*) finding high env-file "$file" 0 ;;
    esac
    if [ "$(count_bytes "$file")" -gt "$FILE_BYTES_MAX" ]; then
      skipped=$((skipped + 1))
      continue
    fi
    files=$((files + 1))
    scan_mode "$file"
    scan_file "$file"
  done < "$WORK/scan.$$.txt"
  rm -f "$WORK/scan.$$.txt"
  [ "$files" -gt 0 ] || bad_data "$APP_DIR has no files"
  passed=true
  if [ "$high" -gt 0 ]; then passed=false; fi
  log "scanned $files files, $lines lines: $high high, $medium medium"

  result_begin
  result_bool passed "$passed"
  result_str app "$APP"
  result_str path "$APP_DIR"
  result_num files "$files"
  result_num lines "$lines"
  result_num high "$high"
  result_num medium "$medium"
  result_num allowed "$allowed"
  result_num skipped "$skipped"
  result_raw findings "[$findings]"
  result_end
}

begin
case $MOA_ACTION in
  security_scan) security_scan ;;
  *) unknown_action security_scan ;;
esac
