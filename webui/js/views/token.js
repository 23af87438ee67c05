// Owns what is shown where the program asks for an access token.
import { html } from '../html.js';

const WORDS =
  document.documentElement.lang.startsWith('zh') && !navigator.language.startsWith('en')
    ? { title: '需要访问令牌', hint: '程序启动时在终端中显示了令牌（ACCESS_TOKEN）。', open: '打开' }
    : {
        title: 'An access token is needed',
        hint: 'The program showed it in its terminal when it started (ACCESS_TOKEN).',
        open: 'Open',
      };

export function TokenGate() {
  const open = (event) => {
    event.preventDefault();
    const token = new FormData(event.currentTarget).get('token');
    const address = new URL(location.href);
    address.searchParams.set('token', token);
    location.replace(address);
  };
  return html`<form class="token-gate" onSubmit=${open}>
    <h1>${WORDS.title}</h1><p>${WORDS.hint}</p>
    <label>Token <input name="token" type="password" autocomplete="off" required autofocus /></label>
    <button class="button primary">${WORDS.open}</button>
  </form>`;
}
