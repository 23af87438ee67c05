// Owns the switcher of projects: which there are, opening one, beginning another.
import { call, knows } from './api.js';
import { deed } from './deed.js';
import { t } from './i18n.js';
import { ask, askText, openDialog } from './notices.js';
import * as store from './store.js';

/** Asks which projects there are; a program that has none shows no switcher. */
export async function loadProjects() {
  if (knows('list_projects')) store.projects.value = await call('list_projects');
}

export const openProjects = () => store.projects.peek() && openDialog('projects');

const named = (id) => store.projects.peek().projects.find((one) => one.id === id);

/** Goes to another project: the page begins anew with it. */
export const openProject = (id) =>
  deed('project', async () => {
    await call('open_project', { id });
    location.reload();
  });

export const createProject = () =>
  deed('project', async () => {
    const title = t('page.project.new');
    const name = await askText({ title, label: t('page.project.name'), confirm: t('page.project.create') });
    if (!name?.trim()) return;
    const { id } = await call('create_project', { name: name.trim() });
    await call('open_project', { id });
    location.reload();
  });

export const renameProject = (id) =>
  deed('project', async () => {
    const label = t('page.project.name');
    const name = await askText({ title: t('page.project.rename'), label, value: named(id).name });
    if (!name?.trim()) return;
    await call('rename_project', { id, name: name.trim() });
    await loadProjects();
  });

/** Deletes a project after saying what is lost. */
export const deleteProject = (id) =>
  deed('project', async () => {
    const { name, task_count: count, decided } = named(id);
    const lines = [t('page.project.loss', { count }), t('page.clear.judgements', { count: decided ?? 0 })];
    lines.push(t('page.clear.picturesComeBack'), t('page.delete.sourceStays'));
    const title = t('page.project.deleteTitle', { name });
    if (!(await ask({ title, lines, confirm: t('page.delete.do'), danger: true }))) return;
    await call('delete_project', { id });
    await loadProjects();
  });
