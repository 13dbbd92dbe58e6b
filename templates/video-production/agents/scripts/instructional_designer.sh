#!/bin/sh
# InstructionalDesignerAgent: makes a lesson plan of a script: what the viewer can do afterwards,
# what has to be known before, how long each part takes, and questions to check it.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

# level_of OBJECTIVE: sets LEVEL to what kind of ability it is, by its verb (Bloom's taxonomy).
level_of() {
  case $1 in
    say* | name* | tell* | recognise*) LEVEL=remember ;;
    explain* | describe* | predict* | read*) LEVEL=understand ;;
    judge* | choose* | decide* | find* | lead*) LEVEL=analyse ;;
    draw* | write* | design*) LEVEL=create ;;
    *) LEVEL=apply ;;
  esac
}

# objectives: lines of atom, level, objective, terms.
objectives() {
  for id in $(printf '%s' "$T_ATOMS" | tr ',' ' '); do
    atom_file "$id"
    goal=$(atom_meta "$ATOM" objective)
    level_of "$goal"
    printf '%s\t%s\t%s\t%s\n' "$id" "$LEVEL" "$goal" "$(atom_meta "$ATOM" terms)"
  done
}

# prerequisites: the atoms that those of this video build on and that it doesn't explain itself.
prerequisites() {
  for id in $(printf '%s' "$T_ATOMS" | tr ',' ' '); do
    atom_file "$id"
    atom_meta "$ATOM" requires | tr -d ' ' | tr ',' '\n'
  done | sort -u | while read -r needed; do
    case ",$T_ATOMS,none," in
      *",$needed,"*) ;;
      *) printf '%s\n' "$needed" ;;
    esac
  done
}

# timing: lines of number, kind, start, seconds, words. Words a minute give the time of speaking;
# each part ends with a pause, a question with one that is long enough to think.
timing() {
  awk -F "$TAB" -v wpm="$(conf_number words_per_minute 150)" '
    {
      words = split($4, parts, " ")
      seconds = words * 60 / wpm + ($1 == "question" ? 4 : 0.7)
      printf "%d\t%s\t%.2f\t%.2f\t%d\n", NR, $1, start, seconds, words
      start += seconds
    }' "$V/script.tsv"
}

as_markdown() {
  printf '# Lesson plan: %s\n\n%s, %s, about %s seconds\n\n' "$T_TITLE" "$VIDEO" "$T_LEVEL" "$SECONDS_ALL"
  printf '## Afterwards the viewer can\n\n'
  while IFS=$TAB read -r _ level goal _; do
    printf -- '- %s (%s)\n' "$goal" "$level"
  done < "$V/objectives.tsv"
  printf '\n## Should be known before\n\n'
  if [ -n "$NEEDED" ]; then printf '%s\n' "$NEEDED" | sed 's/^/- /'; else printf 'Nothing.\n'; fi
  printf '\n## Course\n\n| Part | From | Seconds | Words |\n|---|--:|--:|--:|\n'
  while IFS=$TAB read -r _ kind start seconds words; do
    printf '| %s | %s | %s | %s |\n' "$kind" "$start" "$seconds" "$words"
  done < "$V/plan.tsv"
  printf '\n## Questions\n'
  for id in $(printf '%s' "$T_ATOMS" | tr ',' ' '); do
    atom_file "$id"
    sed -n '/^## Check/,$p' "$ATOM" | sed '1d'
  done
}

design() {
  take_video
  need "$V/script.tsv" ScriptwriterAgent
  read_topic "$TOPIC"
  write_by "$V/objectives.tsv" objectives
  write_by "$V/plan.tsv" timing
  NEEDED=$(prerequisites)
  SECONDS_ALL=$(awk -F "$TAB" '{ sum += $4 } END { printf "%.1f", sum }' "$V/plan.tsv")
  write_by "$V/plan.md" as_markdown
  log "$(count_lines "$V/objectives.tsv") objectives in $SECONDS_ALL seconds"
  result_begin
  result_str plan "$V/plan.md"
  result_raw objectives "$(cut -f 3 "$V/objectives.tsv" | json_list)"
  result_raw prerequisites "$(printf '%s' "${NEEDED:+$NEEDED$NL}" | json_list)"
  result_num seconds "$SECONDS_ALL"
  result_num parts "$(count_lines "$V/plan.tsv")"
  result_end
}

begin
case $MOA_ACTION in
  design) design ;;
  *) unknown_action design ;;
esac
