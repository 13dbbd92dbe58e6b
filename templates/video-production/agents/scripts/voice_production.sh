#!/bin/sh
# VoiceProductionAgent: has the script spoken. With espeak-ng it makes one WAV file of all parts and
# measures how long each of them takes; without, the narration is a text, and the lesson plan's
# times stand. The output says which.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

# byte N, little N BYTES: writes a number, least byte first.
little() {
  _n=$1
  _left=$2
  while [ "$_left" -gt 0 ]; do
    _b=$((_n % 256))
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\$((_b / 64))$((_b / 8 % 8))$((_b % 8))"
    _n=$((_n / 256))
    _left=$((_left - 1))
  done
}

# wav_header DATA_BYTES RATE: of one channel with 16 bits a sample.
wav_header() {
  printf 'RIFF'
  little $(($1 + 36)) 4
  printf 'WAVEfmt '
  little 16 4
  little 1 2
  little 1 2
  little "$2" 4
  little $(($2 * 2)) 4
  little 2 2
  little 16 2
  printf 'data'
  little "$1" 4
}

# wav_rate FILE: prints its samples a second; fails when it isn't one channel of 16 bits.
wav_rate() {
  # shellcheck disable=SC2046 # words are meant
  set -- $(od -An -v -tu1 -N44 "$1")
  [ "$#" -eq 44 ] || return 1
  shift 20
  # Now $1 is byte 20: format, channels, rate, bytes a second, block, bits.
  [ "$1.$3.${15}" = 1.1.16 ] || return 1
  printf '%d' $(($5 + $6 * 256 + $7 * 65536))
}

# speak NUMBER KIND TEXT: the part as samples at the end of the narration, and a line of timing.
speak() {
  printf '%s\n' "$3" > "$PARTS/$1.txt"
  espeak-ng -v "$(conf voice en)" -s "$WPM" -f "$PARTS/$1.txt" -w "$PARTS/$1.wav" < /dev/null >&2 ||
    fail 1 "espeak-ng could not speak part $1"
  RATE=$(wav_rate "$PARTS/$1.wav") || bad_data "espeak-ng made no WAV of one channel and 16 bits"
  tail -c +45 "$PARTS/$1.wav" >> "$PARTS/all.raw"
  spoken=$(($(count_bytes "$PARTS/$1.wav") - 44))
  silence=$((RATE * 7 / 10))
  silence=$((silence * 2))
  if [ "$2" = question ]; then silence=$((RATE * 4 * 2)); fi
  head -c "$silence" /dev/zero >> "$PARTS/all.raw"
  awk -v n="$1" -v kind="$2" -v spoken="$spoken" -v all="$((spoken + silence))" -v rate="$RATE" \
    'BEGIN { printf "%d\t%s\t%.3f\t%.3f\n", n, kind, spoken / rate / 2, all / rate / 2 }' \
    >> "$PARTS/voice.tsv"
}

# speak_all: narration.wav and voice.tsv.
speak_all() {
  PARTS=$V/voice.tmp.$$
  rm -rf "$V"/voice.tmp.*
  mkdir -p "$PARTS"
  WPM=$(conf_number words_per_minute 150)
  number=0
  while IFS=$TAB read -r kind _ _ text; do
    number=$((number + 1))
    speak "$number" "$kind" "$text"
  done < "$V/script.tsv"
  bytes=$(count_bytes "$PARTS/all.raw")
  wav_header "$bytes" "$RATE" > "$PARTS/narration.wav"
  cat "$PARTS/all.raw" >> "$PARTS/narration.wav"
  mv -f "$PARTS/narration.wav" "$V/narration.wav"
  replace "$V/voice.tsv" < "$PARTS/voice.tsv"
  rm -rf "$PARTS"
}

# plan_all: voice.tsv from the lesson plan.
plan_all() {
  rm -f "$V/narration.wav"
  # shellcheck disable=SC2016 # $1 to $4 are awk's
  write_by "$V/voice.tsv" \
    awk -F "$TAB" '{ printf "%d\t%s\t%.3f\t%.3f\n", $1, $2, $4 - ($2 == "question" ? 4 : 0.7), $4 }' \
    "$V/plan.tsv"
}

produce_voice() {
  take_video
  need "$V/script.tsv" ScriptwriterAgent
  need "$V/plan.tsv" InstructionalDesignerAgent
  write_by "$V/narration.txt" cut -f 4 "$V/script.tsv"
  if has espeak-ng; then
    speak_all
    voice=espeak-ng
    log "espeak-ng spoke $(count_lines "$V/voice.tsv") parts into $V/narration.wav"
  else
    plan_all
    voice=none
    log 'there is no espeak-ng here: the narration is text, and the video will be silent'
  fi
  result_begin
  result_str voice "$voice"
  result_str narration "$V/narration.txt"
  result_str audio "$([ "$voice" = none ] || printf '%s' "$V/narration.wav")"
  result_num seconds "$(awk -F "$TAB" '{ sum += $4 } END { printf "%.2f", sum }' "$V/voice.tsv")"
  result_end
}

begin
case $MOA_ACTION in
  produce_voice) produce_voice ;;
  *) unknown_action produce_voice ;;
esac
