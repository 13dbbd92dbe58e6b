#!/bin/sh
# ABTestOrchestratorAgent: makes three variants (A, B, C) of what people see before they click:
# title, thumbnail, description. Variant A is the style that the style guide prefers, B and C are
# the others. With the last step, `release`, the video is ready for the upload.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

STYLES='plain question promise'

phrase_of() { # phrase_of FORMAT: how a title names it
  case $1 in
    explainer) printf 'explained' ;;
    worked-example) printf 'with numbers' ;;
    mistakes) printf 'the usual mistakes' ;;
    safety-brief) printf 'done safely' ;;
    troubleshooting) printf 'finding the fault' ;;
    *) printf 'three questions' ;;
  esac
}

# title STYLE: at most 100 characters, as YouTube has it.
title() {
  case $1 in
    plain) printf '%s: %s' "$T_TITLE" "$(phrase_of "$FORMAT")" ;;
    question) printf '%s (%s)' "$T_QUESTION" "$T_TITLE, $(phrase_of "$FORMAT")" ;;
    *) printf '%s to %s (%s)' "$MINUTES" "$T_PROMISE" "$(phrase_of "$FORMAT")" ;;
  esac | cut -c 1-100
}

# words_on STYLE: what the thumbnail says.
words_on() {
  case $1 in
    plain) printf '%s' "$T_TITLE" ;;
    question) printf '%s' "$T_QUESTION" ;;
    *) printf 'In %s: %s' "$MINUTES" "$T_PROMISE" ;;
  esac
}

# chapters: their times, as YouTube reads them: from 0:00, at least three, at least ten seconds each.
chapters() {
  awk -F "$TAB" '
    NR == 1 || $1 - last >= 10 {
      if ($3 == name) next
      printf "%d:%02d %s\n", $1 / 60, $1 % 60, $3; last = $1; name = $3
    }' "$V/chapters.tsv"
}

# description STYLE
description() {
  case $1 in
    plain) printf '%s, %s.\n' "$T_TITLE" "$(phrase_of "$FORMAT")" ;;
    question) printf '%s\n' "$T_QUESTION" ;;
    *) printf 'After this video you can %s.\n' "$T_PROMISE" ;;
  esac
  printf '\nYou will be able to\n'
  cut -f 3 "$V/objectives.tsv" | sed 's/^/- /'
  printf '\nChapters\n'
  chapters
  printf '\nA production of %s. The voice is synthetic.\n' "$(conf name 'this channel')"
}

# tags: the terms of the objectives, one a line.
tags() {
  printf '%s\n' "$T_AREA"
  cut -f 4 "$V/objectives.tsv" | tr ',' '\n' | sed 's/^ *//;s/ *$//' | sort -u
}

# thumbnail VARIANT STYLE: SVG, and PNG where ffmpeg is.
thumbnail() {
  pictures=0
  if has ffmpeg; then pictures=1; fi
  awk -v out="$V/thumbnail-$1.tmp.$$" -v words="$(words_on "$2")" -v layout="$1" \
    -v small="$(conf name 'This channel')" -v pictures="$pictures" \
    -f "${0%/*}/pixels.awk" -f "${0%/*}/thumbnail.awk" "${0%/*}/font.txt"
  mv -f "$V/thumbnail-$1.tmp.$$.svg" "$V/thumbnail-$1.svg"
  if [ "$pictures" -eq 1 ]; then
    ffmpeg -hide_banner -loglevel error -nostdin -y -i "$V/thumbnail-$1.tmp.$$.xpm" \
      -vf 'scale=1280:720:flags=neighbor' -frames:v 1 -update 1 -f image2 -c:v png \
      "$V/thumbnail-$1.tmp.$$.png" < /dev/null >&2 || fail 1 'ffmpeg could not make the thumbnail'
    mv -f "$V/thumbnail-$1.tmp.$$.png" "$V/thumbnail-$1.png"
    rm -f "$V/thumbnail-$1.tmp.$$.xpm"
  fi
}

# styles_in_order: the preferred one first.
styles_in_order() {
  preferred=$(guide title_style plain)
  printf '%s\n' "$preferred"
  for style in $STYLES; do
    [ "$style" = "$preferred" ] || printf '%s\n' "$style"
  done
}

prepare() {
  take_video
  need "$V/objectives.tsv" InstructionalDesignerAgent
  need "$V/chapters.tsv" VideoAssemblyAgent
  read_topic "$TOPIC"
  FORMAT=${VIDEO#"$T_DATE-$T_SLUG-"}
  LENGTH=$(awk -F "$TAB" '{ sum += $4 } END { printf "%d", sum + 0.5 }' "$V/voice.tsv")
  MINUTES=$(((LENGTH + 59) / 60))
  MINUTES="$MINUTES minute$([ "$MINUTES" -eq 1 ] || printf s)"
}

create_variants() {
  prepare
  case " $STYLES " in
    *" $(guide title_style plain) "*) ;;
    *) bad_data "the style guide asks for titles in style '$(guide title_style plain)'; there are: $STYLES" ;;
  esac
  write_by "$V/tags.txt" tags
  : > "$V/variants.tmp.$$"
  list=''
  for style in $(styles_in_order); do
    case $list in '') variant=A ;; *\"B\"*) variant=C ;; *) variant=B ;; esac
    thumbnail "$variant" "$style"
    write_by "$V/description-$variant.txt" description "$style"
    name=$(title "$style")
    printf '%s\t%s\t%s\n' "$variant" "$style" "$name" >> "$V/variants.tmp.$$"
    quote "$name"
    list="${list:+$list,}{\"variant\":\"$variant\",\"style\":\"$style\",\"title\":$QUOTED}"
  done
  mv -f "$V/variants.tmp.$$" "$V/variants.tsv"
  log "$(cut -f 3 "$V/variants.tsv")"
  result_begin
  result_raw variants "[$list]"
  result_num variants_created 3
  result_end
}

# release: the video is ready for the upload, from now on and once.
release() {
  take_now
  prepare
  need "$V/variants.tsv" 'create_variants'
  need "$V/verdict.tsv" QualityReviewCommittee
  [ "$(column "$V/verdict.tsv" 1)" = true ] || bad_data "$VIDEO was not approved"
  rendered=storyboard
  if [ -s "$V/video.mp4" ]; then rendered=mp4; fi
  quality=$(awk -F "$TAB" '$5 == "ok" { ok++ } END { printf "%d", ok * 100 / NR }' "$V/review.tsv")
  IFS=$TAB read -r _ style name < "$V/variants.tsv" || bad_data "$V/variants.tsv is empty"
  new=0
  if printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$VIDEO" "$NOW_EPOCH" "$FORMAT" \
    "$T_ATOMS" "$REVISION" "$T_AREA" "$LENGTH" "$quality" "$rendered" "$style" "$name" |
    make_once "data/ready/$VIDEO.tsv"; then
    new=1
  fi
  rm -f "data/claims/$VIDEO"
  log "$VIDEO is ready for the upload"
  result_begin
  result_str video "$VIDEO"
  result_str title "$name"
  result_str rendered "$rendered"
  result_num seconds "$LENGTH"
  result_num quality "$quality"
  result_num videos_produced "$new"
  result_end
}

begin
case $MOA_ACTION in
  create_variants) create_variants ;;
  release) release ;;
  *) unknown_action 'create_variants, release' ;;
esac
