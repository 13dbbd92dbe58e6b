# Comparing shares: is the difference between two click rates more than chance?

# normal_tail(Z): how often a normal variable is further from 0 than Z, on either side.
# Abramowitz and Stegun, 7.1.26: the error is below 0.0000002.
function normal_tail(z,  x, t) {
  x = (z < 0 ? -z : z) / sqrt(2)
  t = 1 / (1 + 0.3275911 * x)
  return ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + \
    0.254829592) * t * exp(-x * x)
}

# z_of(CLICKS1, SHOWN1, CLICKS2, SHOWN2): the two-proportion z-test with pooled variance.
function z_of(c1, n1, c2, n2,  p, variance) {
  if (n1 <= 0 || n2 <= 0) return 0
  p = (c1 + c2) / (n1 + n2)
  variance = p * (1 - p) * (1 / n1 + 1 / n2)
  return variance > 0 ? (c1 / n1 - c2 / n2) / sqrt(variance) : 0
}

# median(LIST, COUNT): LIST is sorted on the way.
function median(list, count,  i, k, held) {
  for (i = 2; i <= count; i++) {
    held = list[i]
    for (k = i - 1; k >= 1 && list[k] > held; k--) list[k + 1] = list[k]
    list[k + 1] = held
  }
  if (!count) return 0
  return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
}
