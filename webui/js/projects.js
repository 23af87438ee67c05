// Owns the switcher of projects: which there are, opening one, beginning another.
import { call, knows } from './api.js';
import { choosePath, deed } from './deed.js';
import { problemText, t } from './i18n.js';
import { ask, askText, openDialog, toast, toastError } from './notices.js';
import { saveUi } from './remember.js';
import * as store from './store.js';

/** Asks which projects there are; a program that has none shows no switcher. */
export async function loadProjects() {
  if (knows('list_projects')) store.projects.value = await call('list_projects');
}

/** Shows the switcher, with figures as they are now. */
export const openProjects = () =>
  deed('projects', async () => {
    await loadProjects();
    if (store.projects.peek()) openDialog('projects');
  });

const named = (id) => store.projects.peek()?.projects.find((one) => one.id === id);

const CAME_FROM = 'came from'; // for the page that begins anew
const FOLLOWED = 'followed';

/** Goes to another project: what is entered stays with this one, and the page begins anew. */
async function go(id) {
  await saveUi();
  store.memory.going = true;
  try {
    await call('open_project', { id });
  } catch (error) {
    store.memory.going = false;
    throw error;
  }
  beginAnew(); // still going: the stream may tell of it before the page is gone
}

function beginAnew(followed = '') {
  try {
    sessionStorage.setItem(CAME_FROM, store.projects.peek().current);
    sessionStorage.setItem(FOLLOWED, followed);
  } catch {
    // no storage here: the switcher leads back
  }
  location.reload();
}

/** Shows the project that another tab or window has opened, and says so; a tab that goes there itself does it alone. */
export function follow() {
  if (!store.memory.going) beginAnew('yes');
}

/** Offers the way back to the project that this tab was in before. */
export function offerWayBack() {
  try {
    const from = named(sessionStorage.getItem(CAME_FROM));
    const followed = sessionStorage.getItem(FOLLOWED);
    sessionStorage.removeItem(CAME_FROM);
    sessionStorage.removeItem(FOLLOWED);
    const { current } = store.projects.peek();
    if (!from || from.id === current) return;
    const action = { label: t('page.project.back', { name: from.name }), run: () => openProject(from.id) };
    const { name } = named(current);
    toast(followed ? t('page.project.followed', { name }) : t('page.project.opened', { name }), { action });
  } catch {
    // no storage, or no projects
  }
}

export const openProject = (id) => deed('project', () => go(id));

/** Goes to the project that the program proposes for the folder that is entered, or begins it. */
export const acceptProposal = ({ id, name, input_path }) =>
  deed('project', async () => {
    await go(id ?? (await call('create_project', { name, input_path })).id);
  });

export const createProject = () =>
  deed('project', async () => {
    const title = t('page.project.new');
    const name = await askText({ title, label: t('page.project.name'), confirm: t('page.project.create') });
    if (!name?.trim()) return;
    await go((await call('create_project', { name: name.trim() })).id);
  });

export const renameProject = (id) =>
  deed('project', async () => {
    const label = t('page.project.name');
    const name = await askText({ title: t('page.project.rename'), label, value: named(id).name });
    if (!name?.trim()) return;
    await call('rename_project', { id, name: name.trim() });
    await loadProjects();
    openDialog('projects');
  });

/** Puts a project away, or takes it back. */
export const archiveProject = (id, archived) =>
  deed('project', async () => {
    await call('archive_project', { id, archived });
    await loadProjects();
  });

/** Deletes a project after saying what is lost. */
export const deleteProject = (id) =>
  deed('project', async () => {
    const { name, task_count: count, decided } = named(id);
    const lines = count ? [t('page.project.loss', { count }), t('page.clear.picturesComeBack')] : [];
    if (decided) lines.splice(1, 0, t('page.clear.judgements', { count: decided }));
    lines.push(t('page.delete.sourceStays'));
    const title = t('page.project.deleteTitle', { name });
    if (!(await ask({ title, lines, confirm: t('page.delete.do'), danger: true }))) return;
    await call('delete_project', { id });
    await loadProjects();
    openDialog('projects');
  });

/** Writes the current project into a file in a folder that the person chooses; a job tells how far it is. */
export const exportProject = (sources) =>
  deed('project', async () => {
    const path = await choosePath('folder', '');
    if (path) await call('export_project', { path, sources });
  });

export const importProject = () =>
  deed('project', async () => {
    const asked = { title: t('page.project.import').replace(/…$/, ''), label: t('page.project.file') };
    const path = await askText(asked);
    if (path?.trim()) await call('import_project', { path: path.trim() });
  });

/** Finds the pictures where they lie now, and says what was found before anything changes. */
export const relocateProject = () =>
  deed('project', async () => {
    const path = await choosePath('folder', store.forms.plan.peek().input_path);
    if (!path) return;
    const found = await call('relocate', { input_path: path, dry_run: true });
    const title = t('page.project.found', { count: found.matched });
    const lines = ['by_name', 'here', 'missing', 'ambiguous'].filter((one) => found[one]);
    const texts = lines.map((one) => t(`page.project.${one}`, { count: found[one] }));
    const examples = [...found.missing_files, ...found.ambiguous_files].slice(0, 5);
    if (!(await ask({ title, lines: [path, ...texts, ...examples], confirm: t('page.project.relocateDo') }))) return;
    await call('relocate', { input_path: path, dry_run: false });
    await saveUi();
    location.reload();
  });

/** Tells how a job with a project file ended; an import can be opened at once. */
export async function projectJobEnded({ kind, result }) {
  await loadProjects();
  const name = kind === 'project_import' ? named(result.project)?.name : result.path;
  if (result.problem) toastError({ ...result.problem, message: problemText(result.problem) });
  if (kind === 'project_export') toast(t('page.project.exported', { path: name }));
  else if (await ask({ title: t('page.project.imported', { name }), confirm: t('page.project.openFor', { name }) })) {
    openProject(result.project);
  }
}
