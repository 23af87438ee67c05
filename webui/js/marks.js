// Owns the writing of decisions: marks {task_id, ticked, dropped, decided}, shown at once, written one after the other.
import { call } from './api.js';
import { lookNow, readAgain } from './list.js';
import * as store from './store.js';

const AT_ONCE = 2000; // marks in one call
const FEW = 3;

/** Writes marks, one call after the other, so that the last decision wins; they are shown at once. */
export function put(marks) {
  for (const one of marks) if (store.taskSignal(one.task_id)) store.mark(one.task_id, one);
  const { decisions } = store.memory;
  const turn = store.memory.moving.then(() => send(marks));
  store.memory.moving = turn.catch(() => undefined);
  for (const one of marks) decisions.set(one.task_id, turn);
  const settled = async () => {
    const last = marks.filter((one) => decisions.get(one.task_id) === turn);
    // events may still tell of earlier decisions: the tasks as they are now come before them
    if (last.length > FEW) await lookNow();
    else await Promise.all(last.map((one) => readAgain(one.task_id)));
    for (const one of last.filter((mark) => decisions.get(mark.task_id) === turn)) {
      decisions.delete(one.task_id);
      store.mark(one.task_id, null);
    }
  };
  turn.then(settled, settled);
  return turn;
}

async function send(marks) {
  for (let at = 0; at < marks.length; at += AT_ONCE) {
    await call('mark_results', { marks: marks.slice(at, at + AT_ONCE) });
  }
}
