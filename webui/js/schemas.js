// Owns what only the page knows of the fields of its forms; the rest of them the program describes.
import * as store from './store.js';

const number = (name, value, minimum, maximum) => ({ name, type: 'integer', default: value, minimum, maximum });
const labelled = (specs, words) =>
  specs.map((one) => ({ label: words(one.name), help: `${words(one.name)}.help`, ...one }));

/** Forms of the page alone: when to ask before a run, how pictures are drawn for a trial. */
const OWN = {
  guard: labelled(
    [number('ask_above', 50, 0, 1000000), { name: 'ask_price', type: 'number', default: 0, minimum: 0 }],
    (name) => `page.guard.${name}`,
  ),
  trial: labelled([number('sample', 5, 1, 200), number('seed', 7, 0, 2147483647)], (name) => `page.trial.${name}`),
};

/** Beside what the program says of a field. */
const MORE = {
  plan: { input_path: { required: true, recent: 'recentPaths' } },
  rule: { output_dir: { required: true, recent: 'recentOutputs' } },
  set: {
    output_dir: { recent: 'recentOutputs' },
    size_value: { default: 1024 },
    only_filtered: { type: 'boolean', default: false, label: 'dataset.only_filtered', help: '' },
  },
};

/** Takes the fields of all forms as the program describes them; what is entered stays. */
export function takeForms({ fields, forms = {}, key_store: keyStore = '' }) {
  store.keyStore.value = keyStore;
  for (const [form, specs] of Object.entries({ config: fields, ...forms, ...OWN })) {
    const more = { ...MORE[form] };
    const all = specs.map((spec) => ({ ...spec, ...more[spec.name] }));
    for (const { name } of all) delete more[name];
    all.push(...Object.entries(more).map(([name, one]) => ({ name, ...one })));
    store.specs[form].value = all;
    if (form !== 'config') store.forms[form].value = { ...defaults(all), ...store.forms[form].peek() };
  }
}

/** The entries of a form before anybody has typed. */
const defaults = (specs) => Object.fromEntries(specs.map((spec) => [spec.name, shown(spec, spec.default)]));

/** A value as its control shows it; a share is shown in percent. */
export function shown(spec, value) {
  if (spec.type === 'boolean') return Boolean(value);
  if (spec.kind === 'share') return String(Math.round((value ?? 0) * 1000) / 10);
  if (spec.type === 'array' && spec.kind !== 'json') return (value ?? []).join(', ');
  if (spec.type !== 'object' && spec.type !== 'array') return String(value ?? '');
  return Object.keys(value ?? {}).length ? JSON.stringify(value, null, 2) : '';
}
