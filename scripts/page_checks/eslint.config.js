// What ESLint asks of the page's scripts. Run from the root of the repository: `npm --prefix scripts/page_checks run check`.
import js from '@eslint/js';
import globals from 'globals';

const MODULE_STATE = 'State of the page lives in store.js, where it can be seen.';

export default [
  { ignores: ['**/vendor/**', '**/node_modules/**'] },
  js.configs.recommended,
  {
    files: ['webui/**/*.js'],
    languageOptions: { ecmaVersion: 'latest', sourceType: 'module', globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'max-len': ['error', { code: 120, ignoreUrls: false }],
      'max-lines': ['error', { max: 600 }],
      'max-statements': ['error', 40],
      'no-shadow': 'error',
      'no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-use-before-define': ['error', { functions: false, variables: false }],
      'no-var': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['webui/js/**/*.js'],
    ignores: ['webui/js/store.js'],
    rules: {
      'no-restricted-syntax': [
        'error',
        { selector: 'Program > VariableDeclaration[kind="let"]', message: MODULE_STATE },
        {
          selector:
            'Program > :matches(VariableDeclaration, ExportNamedDeclaration) NewExpression[callee.name=/^(Map|Set|WeakMap)$/]:not(:function *)',
          message: MODULE_STATE,
        },
      ],
    },
  },
  { files: ['webui/js/bridge.js'], languageOptions: { sourceType: 'script' } },
];
