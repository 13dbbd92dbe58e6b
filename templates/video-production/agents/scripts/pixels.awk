# Drawing with points: the font, lines of text, boxes, and pictures in XPM, which ffmpeg reads. Reads
# font.txt; what uses this sets `width` and `height` first.

function escaped(text) {
  gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text)
  gsub(/"/, "\\&quot;", text)
  return text
}

BEGIN { under = " " }

function times(text, n,  out) {
  out = ""
  while (n > 0) { if (n % 2) out = out text; text = text text; n = int(n / 2) }
  return out
}

FILENAME ~ /font\.txt$/ {
  if (/^#/) next
  letter = sprintf("%c", $1 + 0)
  for (r = 1; r <= 7; r++) glyph[letter, r] = $(r + 1) "."
  next
}

# The points of one row of a letter, SIZE times as wide, drawn with the character INK on `under`.
function points(letter, r, size, ink,  key, row, i, out) {
  key = letter SUBSEP r SUBSEP size SUBSEP ink SUBSEP under
  if (key in drawn) return drawn[key]
  row = (letter, r) in glyph ? glyph[letter, r] : glyph["?", r]
  out = ""
  for (i = 1; i <= 6; i++) out = out times(substr(row, i, 1) == "#" ? ink : under, size)
  return drawn[key] = out
}

# Puts a line of text at X, Y.
function put(text, x, y, size, ink,  r, i, n, line, k) {
  n = length(text)
  if (x + n * 6 * size > width) n = int((width - x) / 6 / size)
  for (r = 1; r <= 7; r++) {
    line = ""
    for (i = 1; i <= n; i++) line = line points(substr(text, i, 1), r, size, ink)
    for (k = 0; k < size; k++) over(y + (r - 1) * size + k, x, line)
  }
}

function over(y, x, line) {
  if (y >= height) return
  row[y] = substr(row[y], 1, x) line substr(row[y], x + length(line) + 1)
}

function box(x, y, w, h, ink,  i) {
  for (i = y; i < y + h; i++) over(i, x, times(ink, w))
}

# Begins a picture of nothing but ground.
function clear(  i) {
  if (blank == "") blank = times(" ", width)
  for (i = 0; i < height; i++) row[i] = blank
}

# Writes the picture. Its inks are " " (ground), "p" (paper), "q" (quiet) and "a" (accent).
function write_xpm(file, ground, paper, quiet, accent,  i) {
  print "/* XPM */\nstatic char *frame[] = {" > file
  printf "\"%d %d 4 1\",\n\"  c %s\",\n\"p c %s\",\n\"q c %s\",\n\"a c %s\"", width, height, ground,
    paper, quiet, accent > file
  for (i = 0; i < height; i++) printf ",\n\"%s\"", row[i] > file
  print "\n};" > file
  close(file)
}
