// Which page the address names. Pages lie one level deep: ".../rank" is the page "rank", ".../" the page "".
const here = () => location.pathname.slice(location.pathname.lastIndexOf("/") + 1);

export const route = $state({ page: here() });

window.addEventListener("popstate", () => (route.page = here()));

/** Follow a link of the frame without loading the Studio anew; clicks meant for another tab are the browser's. */
export function follow(event: MouseEvent): void {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  history.pushState(null, "", (event.currentTarget as HTMLAnchorElement).href);
  route.page = here();
}
