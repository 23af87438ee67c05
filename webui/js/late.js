// Owns the one guard against late answers: of those who asked under one guard, only the last may take the answer.

/** A guard. Each call of it begins a question and gives a test: whether it is still the last one that was begun. */
export function makeGuard() {
  let last = 0;
  return () => {
    const mine = (last += 1);
    return () => mine === last;
  };
}
