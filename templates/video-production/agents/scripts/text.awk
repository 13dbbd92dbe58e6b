# What the agents know about texts: words, sentences, syllables, readability.

# count_words(TEXT)
function count_words(text,  parts) { return split(text, parts, " ") }

# count_sentences(TEXT): by their ends. A point inside a number is none.
function count_sentences(text,  n) {
  text = text " "
  n = gsub(/[.!?]+["')]* /, " ", text)
  return n > 0 ? n : 1
}

# syllables(WORD): groups of vowels, without a silent e. Figures count as spoken, roughly.
function syllables(word,  n, digits) {
  word = tolower(word)
  gsub(/[^a-z0-9]/, "", word)
  if (word == "") return 0
  if (word ~ /^[0-9]+$/) { digits = length(word); return digits > 4 ? 8 : digits * 2 - (digits > 1) }
  gsub(/[0-9]/, "", word)
  if (length(word) <= 3) return 1
  sub(/(es|ed)$/, "", word)
  sub(/[^aeiouyl]e$/, "", word)
  n = gsub(/[aeiouy]+/, "", word)
  return n > 0 ? n : 1
}

# reading_ease(TEXT): Flesch's figure; 60 to 70 is plain English, and more is easier.
function reading_ease(text,  parts, n, i, words, total) {
  n = split(text, parts, /[ \t]+/)
  for (i = 1; i <= n; i++)
    if (parts[i] ~ /[A-Za-z0-9]/) { words++; total += syllables(parts[i]) }
  if (!words) return 0
  return 206.835 - 1.015 * words / count_sentences(text) - 84.6 * total / words
}

# first_sentence(TEXT)
function first_sentence(text,  at) {
  at = match(text, /[.!?] /)
  return at ? substr(text, 1, at) : text
}

# capital(TEXT): with a capital letter at its beginning.
function capital(text) { return toupper(substr(text, 1, 1)) substr(text, 2) }
