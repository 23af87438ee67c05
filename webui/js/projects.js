// Owns the switcher of projects: which there are, opening one, beginning another.
import { call, knows } from './api.js';
import { deed } from './deed.js';
import { t } from './i18n.js';
import { ask, askText, openDialog } from './notices.js';
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

const named = (id) => store.projects.peek().projects.find((one) => one.id === id);

/** Goes to another project: what is entered stays with this one, and the page begins anew. */
async function go(id) {
  await saveUi();
  await call('open_project', { id });
  location.reload();
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
