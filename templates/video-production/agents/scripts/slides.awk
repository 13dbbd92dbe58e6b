# Cuts a script into slides: of script.tsv (kind, atom, heading, text) and voice.tsv (number, kind,
# seconds of speaking, seconds with the pause) it makes lines of number, seconds, kind, heading,
# counter, progress, text. With -v captions=FILE it writes subtitles (SRT) there, sentence by
# sentence, and with -v chapters=FILE the beginning of each part.

function stamp(t,  ms) {
  ms = int(t * 1000 + 0.5)
  return sprintf("%02d:%02d:%02d,%03d", ms / 3600000, ms / 60000 % 60, ms / 1000 % 60, ms % 1000)
}

function words_of(text,  parts) { return split(text, parts, " ") }

# Lines of at most 49 letters, joined by "|".
function wrapped(text,  parts, n, i, line, out) {
  gsub(/[|]/, "/", text)
  n = split(text, parts, " "); line = ""; out = ""
  for (i = 1; i <= n; i++) {
    if (line != "" && length(line) + length(parts[i]) + 1 > 49) { out = out line "|"; line = "" }
    line = line (line == "" ? "" : " ") parts[i]
  }
  return out line
}

function caption(from, to, text,  i, n, lines, half) {
  printf "%d\n%s --> %s\n", ++captioned, stamp(from), stamp(to) > captions
  n = split(wrapped(text), lines, "|")
  for (i = 1; i <= n; i++) print lines[i] > captions
  print "" > captions
}

# Time is shared among sentences, and among slides, as their words are.
function sentences(text, from, seconds,  all, at, head, share) {
  all = words_of(text)
  while (text != "") {
    at = match(text, /[.!?] /)
    head = at ? substr(text, 1, at) : text
    text = at ? substr(text, at + 2) : ""
    share = seconds * words_of(head) / all
    caption(from, from + share, head)
    from += share
  }
}

FILENAME ~ /voice\.tsv$/ { speaking[$1] = $3; lasting[$1] = $4; total += $4; parts_all++; next }
{
  number++
  if (captions != "") sentences($4, start, speaking[number])
  if (chapters != "") printf "%d\t%s\t%s\n", int(start + 0.5), $1, $3 > chapters
  n = split(wrapped($4), lines, "|")
  pages = int((n + 8) / 9)
  shown = start
  for (p = 1; p <= pages; p++) {
    text = ""; words = 0
    for (i = (p - 1) * 9 + 1; i <= p * 9 && i <= n; i++) {
      text = text (text == "" ? "" : "|") lines[i]
      words += words_of(lines[i])
    }
    seconds = p == pages ? start + lasting[number] - shown : speaking[number] * words / words_of($4)
    printf "%d\t%.3f\t%s\t%s\t%d/%d\t%.4f\t%s\n", ++slides, seconds, $1, $3, number, parts_all,
      (total > 0 ? (shown + seconds) / total : 1), text
    shown += seconds
  }
  start += lasting[number]
}
