#!/bin/sh
# VideoAssemblyAgent: puts script and voice together: a storyboard, subtitles and, where ffmpeg is,
# an MP4 of them. Without ffmpeg the storyboard and the subtitles are the video; the output says
# which it is.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

# storyboard_page: an HTML page with all frames, their times and what is said.
storyboard_page() {
  awk -F "$TAB" -v title="$T_TITLE" -v audio="$1" '
    function escaped(text) {
      gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text)
      gsub(/"/, "\\&quot;", text)
      return text
    }
    BEGIN {
      print "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">"
      printf "<title>%s</title>\n", escaped(title)
      print "<style>body{font-family:sans-serif;max-width:70rem;margin:auto;padding:1rem}"
      print "figure{display:flex;gap:1rem;margin:1rem 0}img{width:22rem}</style>"
      printf "<h1>Storyboard: %s</h1>\n", escaped(title)
      if (audio != "") printf "<audio controls src=\"%s\"></audio>\n", escaped(audio)
    }
    {
      text = $7; gsub(/[|]/, " ", text)
      printf "<figure><img src=\"storyboard/%03d.svg\" alt=\"%s\">", $1, escaped($4)
      printf "<figcaption>%.1f s, %s<p>%s</figcaption></figure>\n", $2, escaped($3), escaped(text)
    }
    END { print "</html>" }' "$FRAMES/slides.tsv"
}

# render: an MP4 of the frames, with the narration if there is one. The same frames give the same
# bytes, whoever renders them.
render() {
  set -- -hide_banner -loglevel error -nostdin -y -f concat -safe 0 -i "$FRAMES/list.txt"
  if [ -s "$V/narration.wav" ]; then set -- "$@" -i "$V/narration.wav"; fi
  set -- "$@" -vf 'scale=1280:720:flags=neighbor,format=yuv420p' -r 5
  if ffmpeg -hide_banner -encoders 2>/dev/null | grep -q ' libx264 '; then
    set -- "$@" -c:v libx264 -preset veryfast -tune stillimage -crf 24 -g 50
  else
    set -- "$@" -c:v mpeg4 -q:v 4
  fi
  if [ -s "$V/narration.wav" ]; then set -- "$@" -c:a aac -b:a 96k; fi
  # Said outright: of stills and sound, ffmpeg would take its own view of what is shortest.
  ffmpeg "$@" -t "$LASTS" -threads 1 -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    -movflags +faststart -f mp4 "$FRAMES/video.mp4" < /dev/null >&2 ||
    fail 1 'ffmpeg could not make the video; what it said stands above'
}

assemble_video() {
  take_video
  need "$V/script.tsv" ScriptwriterAgent
  need "$V/voice.tsv" VoiceProductionAgent
  read_topic "$TOPIC"
  # A repeated attempt begins anew; what is whole replaces what was there.
  rm -rf "$V"/frames.tmp.*
  FRAMES=$V/frames.tmp.$$
  mkdir -p "$FRAMES"
  awk -F "$TAB" -v captions="$FRAMES/captions.srt" -v chapters="$FRAMES/chapters.tsv" \
    -f "${0%/*}/slides.awk" "$V/voice.tsv" "$V/script.tsv" > "$FRAMES/slides.tsv"
  pictures=0
  if has ffmpeg; then pictures=1; fi
  awk -v out="$FRAMES" -v channel="$(conf name 'This channel')" -v pictures="$pictures" \
    -f "${0%/*}/pixels.awk" -f "${0%/*}/frames.awk" "${0%/*}/font.txt" "$FRAMES/slides.tsv"
  LASTS=$(awk -F "$TAB" '{ sum += $4 } END { printf "%.2f", sum }' "$V/voice.tsv")
  rendered=storyboard
  file=$V/storyboard.html
  bytes=0
  rm -f "$V/video.mp4"
  if [ "$pictures" -eq 1 ]; then
    render
    mv -f "$FRAMES/video.mp4" "$V/video.mp4"
    rendered=mp4
    file=$V/video.mp4
    bytes=$(count_bytes "$file")
    log "rendered $V/video.mp4"
  else
    log 'there is no ffmpeg here: the video is a storyboard with subtitles'
  fi
  audio=''
  if [ -s "$V/narration.wav" ]; then audio=narration.wav; fi
  write_by "$V/storyboard.html" storyboard_page "$audio"
  mv -f "$FRAMES/captions.srt" "$V/captions.srt"
  mv -f "$FRAMES/chapters.tsv" "$V/chapters.tsv"
  frames=$(count_lines "$FRAMES/slides.tsv")
  rm -rf "$V/storyboard" "$FRAMES"/*.xpm "$FRAMES/list.txt" "$FRAMES/slides.tsv"
  mv "$FRAMES" "$V/storyboard"
  result_begin
  result_str rendered "$rendered"
  result_str file "$file"
  result_num frames "$frames"
  result_num bytes "$bytes"
  result_num seconds "$LASTS"
  result_str captions "$V/captions.srt"
  result_end
}

begin
case $MOA_ACTION in
  assemble_video) assemble_video ;;
  *) unknown_action assemble_video ;;
esac
