"""What the demo asks: beginnings of texts, as the model is a base model that continues what it is given."""

PROMPTS = (
    "The capital of France is",
    "The three primary colours are red,",
    "Water boils at 100 degrees",
    "Once upon a time, in a small village by the sea,",
    "The first person to walk on the Moon was",
    "The chemical symbol for gold is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Monday, Tuesday, Wednesday, Thursday,",
    "Q: What is the largest planet of our solar system?\nA:",
    "To make a good cup of tea, first",
    "Ingredients: flour, eggs, milk, butter. Recipe:",
    "Dear Sir or Madam,\n\nI am writing to",
    "The quick brown fox jumps over the",
    "In the beginning God created the heaven and the",
    "A haiku about the sea:\n",
    "SELECT name, price FROM products WHERE",
    "English: Good morning. French: Bonjour. English: Thank you. French:",
    "1, 2, 4, 8, 16, 32,",
    "Photosynthesis is the process by which plants",
    "The most important thing about sharing computers is",
)
