#!/bin/sh
# Advanced Automation: tidies up. Keeps the newest releases and measurements, and always the live
# release and the one that a rollback would go to.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

clean_up() {
  keep=${MOA_PARAM_KEEP:-5}
  whole_number keep "$keep" 1 1000
  find_deployed
  removed_releases=0 removed_files=0 kept=0
  if [ -n "$DEPLOY" ] && [ -d "$DEPLOY/releases" ]; then
    previous=''
    if [ "$RELEASE" -gt 0 ]; then previous=$(cat "$DEPLOY/releases/$RELEASE/.previous"); fi
    rank=0
    for number in $(cd "$DEPLOY/releases" && printf '%s\n' * | sort -rn); do
      case $number in *[!0-9]*) continue ;; esac
      rank=$((rank + 1))
      if [ "$rank" -le "$keep" ] || [ "$number" = "$RELEASE" ] || [ "$number" = "$previous" ]; then
        kept=$((kept + 1))
      else
        log "removing release $number of $APP"
        rm -rf "$DEPLOY/releases/$number"
        removed_releases=$((removed_releases + 1))
      fi
    done
  fi
  rank=0
  for file in $(printf '%s\n' metrics/????-??-??.csv | sort -r); do
    [ -f "$file" ] || continue
    rank=$((rank + 1))
    if [ "$rank" -gt 30 ]; then
      rm -f "$file"
      removed_files=$((removed_files + 1))
    fi
  done

  result_begin
  result_str app "$APP"
  result_num kept "$kept"
  result_num removed_releases "$removed_releases"
  result_num removed_files "$removed_files"
  result_end
}

begin
case $MOA_ACTION in
  clean_up) clean_up ;;
  *) unknown_action clean_up ;;
esac
