// Owns the fields of the forms that the program does not describe itself, in the shape in which it describes settings.

const text = (name, more = {}) => ({ name, type: 'string', default: '', ...more });
const check = (name, value, more = {}) => ({ name, type: 'boolean', default: value, ...more });
const number = (name, value, minimum, maximum, more = {}) => ({
  name,
  type: 'integer',
  default: value,
  minimum,
  maximum,
  ...more,
});
const choice = (name, choices, value = choices[0], more = {}) => ({
  name,
  type: 'choice',
  choices,
  default: value,
  ...more,
});
const labelled = (specs, words) =>
  specs.map((spec) => ({ label: words(spec.name), help: `${words(spec.name)}.help`, ...spec }));

/** Which pictures, and how tasks are made of them. */
export const PLAN = labelled(
  [
    text('input_path', { kind: 'folder', required: true, recent: 'recentPaths' }),
    text('prompt_table', { kind: 'file' }),
    number('variants', 1, 1, 20),
    choice('references', ['off', 'suffix', 'folders']),
    check('fresh', false),
  ],
  (name) => `page.plan.${name}`,
);

/** Under which names results are saved, and where. */
export const RULE = labelled(
  [
    text('output_dir', { kind: 'folder', required: true, recent: 'recentOutputs' }),
    text('filename_template', { kind: 'code', default: '{src_stem}' }),
    text('replace_from', { kind: 'code' }),
    text('replace_to', { kind: 'code' }),
    check('create_txt', false),
    text('txt_template', { kind: 'codes' }),
    check('only_selected', true),
    check('only_first_if_multiple', false),
  ],
  (name) => `page.save.${name}`,
);

/** What a set is to be; the program names trainers and modes. */
export const SET = labelled(
  [
    choice('trainer', ['ai_toolkit']),
    text('name', { default: 'set', maximum: 100 }),
    choice('caption_mode', ['prompt']),
    text('caption_template', { default: '{prompt}' }),
    text('trigger'),
    choice('picture_format', ['as_it_came']),
    number('quality', 95, 1, 100),
    choice('size_rule', ['as_it_came']),
    number('size_value', 1024, 2, 16384),
    text('stem_template', { default: '{global_index:04}' }),
    number('validation', 0, 0, 90),
    number('seed', 0, null, null),
    text('output_dir', { kind: 'folder', recent: 'recentOutputs' }),
    check('only_filtered', false),
    check('only_selected', true),
    check('first_only', false),
    check('crop_align', false),
    check('as_zip', false),
    check('leave_out', false),
    text('path'),
    { name: 'price_per_call', type: 'number', default: '', minimum: 0, step: 'any', empty: true },
  ],
  (name) => `dataset.${name}`,
);

/** When to ask before a run. */
export const GUARD = labelled([number('ask_above', 50, 0, 1000000)], (name) => `page.guard.${name}`);

/** How pictures are drawn for a trial. */
export const TRIAL = labelled(
  [number('sample', 5, 1, 200), number('seed', 7, 0, 2147483647)],
  (name) => `page.trial.${name}`,
);

/** The entries of a form before anybody has typed. */
export const defaults = (specs) =>
  Object.fromEntries(
    specs.map((spec) => [spec.name, spec.type === 'boolean' ? spec.default : String(spec.default ?? '')]),
  );
