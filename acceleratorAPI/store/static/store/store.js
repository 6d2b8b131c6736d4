// Copies an example; without a script everything else works too.
document.querySelectorAll("button.copy").forEach((button) => {
  const label = button.firstChild;
  const said = label.textContent;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = said; }, 1500);
  });
});
