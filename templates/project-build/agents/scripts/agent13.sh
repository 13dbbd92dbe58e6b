#!/bin/sh
# Docs Auditor: reads an application's README: are the sections there, do the links lead somewhere,
# do the programs that it tells people to run exist?
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

finding() { # finding LINE WHAT
  log "$readme:$1: $2"
  quote "$2"
  findings="${findings:+$findings,}{\"line\":$1,\"what\":$QUOTED}"
}

check_links() { # check_links NUMBER LINE
  left=$2
  while :; do
    case $left in
      *']('*')'*) ;;
      *) return 0 ;;
    esac
    left=${left#*']('}
    link=${left%%')'*}
    links=$((links + 1))
    case $link in
      *:* | '#'*) ;;
      *) [ -e "$APP_DIR/${link%%'#'*}" ] || finding "$1" "the link to $link leads nowhere" ;;
    esac
  done
}

audit_docs() {
  find_app
  readme=$APP_DIR/README.md
  [ -f "$readme" ] || not_found "there is no $readme"
  findings='' links=0 commands=0 sections=0 words=0 number=0 headings=$NL
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    case $line in
      '#'*)
        sections=$((sections + 1))
        headings=$headings${line##*'# '}$NL ;;
      '    sh '*)
        commands=$((commands + 1))
        program=${line#'    sh '}
        program=${program%% *}
        [ -f "$APP_DIR/$program" ] || finding "$number" "there is no $program to run" ;;
    esac
    check_links "$number" "$line"
  done < "$readme"
  words=$(wc -w < "$readme")
  for needed in 'Build and test' 'What is where' 'License'; do
    case $headings in
      *"$NL$needed$NL"*) ;;
      *) finding 0 "no section '$needed'" ;;
    esac
  done
  passed=true
  if [ -n "$findings" ]; then passed=false; fi

  result_begin
  result_bool passed "$passed"
  result_str app "$APP"
  result_str file "$readme"
  result_num sections "$sections"
  result_num links "$links"
  result_num commands "$commands"
  result_num words "$((words))"
  result_raw findings "[$findings]"
  result_end
}

begin
case $MOA_ACTION in
  audit_docs) audit_docs ;;
  *) unknown_action audit_docs ;;
esac
