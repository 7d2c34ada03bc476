// Runs before the page is painted: the theme that was chosen here, where one was.
{
  const chosen = localStorage.getItem("forge-theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
}
