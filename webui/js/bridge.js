// Owns the window's bridge under a policy without `unsafe-eval`: what pywebview would compile are closures here.
// A classic script, so that it has run before pywebview puts its bridge into the page; a module may come after that.
(() => {
  let bridge = window.pywebview;

  const add = (made, name) => {
    made._returnValuesCallbacks[name] = {};
    made.api[name] = (...values) =>
      new Promise((resolve, reject) => {
        const id = crypto.randomUUID();
        made._checkValue(name, resolve, reject, id);
        made._jsApiCallback(name, values, id);
      });
  };

  const mend = (made) => {
    bridge = made;
    if (made) made._createApi = (functions) => functions.forEach(({ func }) => add(made, func));
  };

  mend(bridge);
  Object.defineProperty(window, 'pywebview', { configurable: true, get: () => bridge, set: mend });
})();
