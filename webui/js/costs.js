// Owns what calls have cost and the person's own prices, as the dialog of costs asks for and changes them.
import { call } from './api.js';
import { deed } from './deed.js';
import { t } from './i18n.js';
import { announce, openDialog } from './notices.js';

/** Shows what was spent, by run, day, project, model and address, and the table of prices. */
export const openCosts = () =>
  deed('costs', async () => {
    const [costs, prices] = await Promise.all([call('get_costs'), call('get_prices')]);
    openDialog('costs', { costs, prices });
  });

const filled = (row) => Object.fromEntries(Object.entries(row).filter(([, text]) => `${text}`.trim()));

/** Makes these the own entries of the table, those that were left empty excepted; gives what was kept, or the error
 * that says what is no price. */
export async function savePrices(rows) {
  const prices = rows.map(filled).filter((row) => Object.keys(row).length);
  try {
    const kept = await call('save_prices', { prices });
    announce(t('page.costs.saved'));
    return { kept: kept.prices };
  } catch (error) {
    if (error.code === undefined) throw error;
    return { error };
  }
}
