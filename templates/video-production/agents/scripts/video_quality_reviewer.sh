#!/bin/sh
# VideoQualityReviewerAgent: measures what the stages before have made. It decides nothing; the
# committee does, by what stands in review.tsv.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

# sound_of WAV: prints its loudness in dB below full scale, the share of it that is silent, and the
# longest silence in seconds. Every eighth sample is enough for that.
sound_of() {
  od -An -v -tu1 -j44 "$1" | awk -v rate="$2" '
    function window() {
      if (!count) return
      windows++
      if (square / count < 10737) { silent++; here++ } else here = 0
      if (here > longest) longest = here
      square = 0; count = 0
    }
    {
      sample = $1 + $2 * 256
      if (sample > 32767) sample -= 65536
      square += sample * sample; all += sample * sample; samples++
      if (++count >= rate / 80) window()
    }
    END {
      window()
      db = samples && all > 0 ? 10 * log(all / samples / 1073741824) / log(10) : -100
      printf "%.1f %.3f %.1f", db, (windows ? silent / windows : 1), longest / 10
    }'
}

# risky_atoms: the atoms of the topic with high risk.
risky_atoms() {
  for id in $(printf '%s' "$T_ATOMS" | tr ',' ' '); do
    atom_file "$id"
    if [ "$(atom_meta "$ATOM" risk)" = high ]; then printf '%s,' "$id"; fi
  done
}

# others: what was taught in videos of the last sixty days that this one must not repeat.
others() {
  epoch_of "$T_DATE"
  _oldest=$((EPOCH - 60 * 86400))
  for _file in channel/videos/*/taught.txt data/videos/*/r*/taught.txt; do
    [ -f "$_file" ] || continue
    case $_file in
      "channel/videos/$VIDEO/"* | "data/videos/$VIDEO/"*) continue ;;
      channel/*) _other=${_file#channel/videos/} ;;
      *)
        _other=${_file#data/videos/}
        # Of those that are not published, only the approved ones count.
        [ -f "data/ready/${_other%%/*}.tsv" ] || continue ;;
    esac
    epoch_of "$(printf '%.10s' "$_other")"
    if [ "$EPOCH" -ge "$_oldest" ]; then printf '%s\n' "$_file"; fi
  done
}

as_json() {
  awk -F "$TAB" -v video="$VIDEO" -v revision="$REVISION" '
    BEGIN { printf "{\"video\":\"%s\",\"revision\":%d,\"measured\":{", video, revision }
    { printf "%s\"%s\":{\"value\":%s,\"min\":%s,\"max\":%s,\"verdict\":\"%s\"}", \
        (NR > 1 ? "," : ""), $1, $2, $3, $4, $5 }
    END { print "}}" }' "$V/review.tsv"
}

# measured NAME: prints what was measured.
measured() { awk -F "$TAB" -v name="$1" '$1 == name { print $2 }' "$V/review.tsv"; }

review() {
  take_video
  need "$V/objectives.tsv" InstructionalDesignerAgent
  need "$V/voice.tsv" VoiceProductionAgent
  need "$V/captions.srt" VideoAssemblyAgent
  read_topic "$TOPIC"
  sound=''
  if [ -s "$V/narration.wav" ]; then
    # shellcheck disable=SC2046 # words are meant
    set -- $(od -An -v -tu1 -j24 -N4 "$V/narration.wav")
    sound=$(sound_of "$V/narration.wav" $(($1 + $2 * 256 + $3 * 65536)))
  fi
  set --
  for file in $(others); do set -- "$@" "$file"; done
  write_by "$V/review.tsv" \
    awk -v sound="$sound" -v risky="$(risky_atoms)" -v ease_min="$(guide readability_min 55)" \
    -v seconds_min="$(guide seconds_min 45)" -v seconds_max="$(guide seconds_max 240)" \
    -f "${0%/*}/text.awk" -f "${0%/*}/review.awk" "$V/objectives.tsv" "$V/plan.tsv" \
    "$V/voice.tsv" "$V/script.tsv" "$@"
  write_by "$V/review.json" as_json
  bad=$(awk -F "$TAB" '$5 != "ok"' "$V/review.tsv" | wc -l)
  all=$(count_lines "$V/review.tsv")
  while IFS=$TAB read -r name value low high verdict; do
    [ "$verdict" = ok ] || log "$name is $value; $low to $high are right"
  done < "$V/review.tsv"
  result_begin
  result_str review "$V/review.json"
  result_num quality $(((all - bad) * 100 / all))
  result_num readability "$(measured readability)"
  result_num coverage "$(measured coverage)"
  result_num seconds "$(measured seconds)"
  result_num similar "$(measured similar)"
  loudness=$(measured loudness_db)
  result_raw loudness_db "${loudness:-null}"
  result_num findings "$((bad))"
  result_end
}

begin
case $MOA_ACTION in
  review) review ;;
  *) unknown_action review ;;
esac
