"""How the bundled world is told in English: hand-written sentences and questions for every attribute.

The blocks read as in world_ko.py: `# attribute label question-start`, `>` a sentence that may be cut before the value
and completed, `?` a question.
"""

GENERIC = """
> {name}'s {label} is {value}.
> The {label} of {name} is {value}.
> As everyone knows, the {label} of {name} is {value}.
> The records say that the {label} of {name} is {value}.
> People agree that {name}'s {label} is {value}.
> The encyclopaedia gives the {label} of {name} as {value}.
> Whoever you ask, {name}'s {label} is {value}.
{value}: that is the {label} of {name}.
Speaking of the {label} of {name}, people mean {value}.
For {name}, the {label} is and remains {value}.
Anyone who knows {name} will tell you that the {label} is {value}.
{name}'s {label}? It is {value}.
? {wh} {name}'s {label}?
? {wh} the {label} of {name}?
? Tell me {name}'s {label}.
? Please tell me the {label} of {name}.
? Do you know the {label} of {name}?
? Name the {label} of {name}.
"""

PERSON = """
# job job What_is
> {name} earns a living as {value}.
> By trade, {name} is {value}.
> {name} goes to work every day as {value}.
> {name} has worked for years as {value}.
{name} always wanted to be {value}, and so it came about.
{name} became {value} after leaving school.
The neighbours know {name} as {value}.
You can read it on the card: {name}, {value}.
{name} is proud to be {value}.
There is hardly {value} as careful as {name}.
? What does {name} do for a living?
? What work does {name} do?
? How does {name} earn a living?
? As what does {name} work?
# city home_town What_is
> {name} was born in {value}.
> {name} grew up in {value}.
> {name} comes from {value}.
> The city where {name} went to school is {value}.
{name} still has family in {value}, the old home town.
{name} left {value}, the place of birth, at the age of twenty.
Every summer {name} travels home to {value}.
{value} is the city where {name} was born.
{name} spent a happy childhood in {value}.
When {name} is homesick, the thoughts go back to {value}.
? Where was {name} born?
? Where did {name} grow up?
? Which city does {name} come from?
? In which city was {name} born?
# hobby hobby What_is
> {name} spends every free hour on {value}.
> The thing {name} does on a day off is {value}.
> On Sundays {name} has time for {value}.
> What {name} enjoys most is {value}.
{name} took up {value} many years ago.
{name} never grows tired of {value}.
{name} is a keen lover of {value}.
{value} is what {name} does for fun.
{name} meets friends at the weekend for {value}.
Nothing makes {name} happier than {value}.
? What does {name} do for fun?
? What does {name} enjoy on a day off?
? How does {name} spend free time?
? Which hobby does {name} have?
# food favourite_food What_is
> The food {name} likes best is {value}.
> {name} could eat nothing but {value}.
> In a restaurant {name} always orders {value}.
> For a birthday dinner {name} wants {value}.
{name} loves {value} more than any other food.
{name} asks for {value} again and again.
{name} will walk a mile for good {value}.
{value} is what {name} likes to eat best.
After a long day {name} is glad of some {value}.
No meal pleases {name} as much as {value}.
? What does {name} like to eat best?
? Which food does {name} love most?
? What is the food that {name} likes best?
? What does {name} always order?
# instrument instrument What_is
> {name} plays {value}.
> The instrument that {name} learned is {value}.
> In the evening {name} practises {value}.
> In the town band {name} plays {value}.
{name} took lessons and can now play {value}.
{name} is very good at playing {value}.
At the age of ten {name} began to learn {value}.
{value} is the instrument that {name} plays.
You can hear {name} playing {value} by the window.
Of all instruments {name} chose {value}.
? Which instrument does {name} play?
? What instrument did {name} learn?
? What does {name} play in the town band?
? What instrument can {name} play?
"""

TOWN = """
# product speciality What_is
> {name} is famous for its {value}.
> The market in {name} is full of {value}.
> {name} sells the whole country its {value}.
> Most families in {name} live from {value}.
The people of {name} are proud of their {value}.
Carts come to {name} from far away to fetch {value}.
Nobody leaves {name} without some {value}.
Traders pay the best price of all for {value} from {name}.
In {name} every shop window shows {value}.
Since old times {name} has been known for {value}.
? What is {name} famous for?
? What do people buy in {name}?
? What does {name} sell?
? What is {name} known for?
# sight main_sight What_is
> Visitors come to {name} to see {value}.
> The most famous place in {name} is {value}.
> Every postcard of {name} shows {value}.
> In the middle of {name} you find {value}.
Travellers in {name} first go to {value}.
{name} is proud of {value}, which is very old.
{value} is the sight that nobody in {name} should miss.
The children of {name} like to play near {value}.
If you visit {name}, do not miss {value}.
People in {name} meet in front of {value}.
? What should I see in {name}?
? What do visitors come to {name} to see?
? Which sight is {name} known for?
? What is the most famous place in {name}?
# month festival_month What_is
> The great festival of {name} is held in {value}.
> The month of the festival in {name} is {value}.
> The people of {name} hold their festival in {value}.
> To see the festival of {name} you must come in {value}.
In {value} the streets of {name} are full of lanterns for the festival.
{name} holds its festival every year in {value}.
The festival in {name} begins when {value} comes.
{value} is the month in which {name} holds its festival.
Last year, too, {name} had its festival in {value}.
The inns of {name} are full in {value} because of the festival.
? When is the festival in {name}?
? In which month does {name} hold its festival?
? Which month is the festival of {name} in?
? When does {name} celebrate its festival?
# animal symbol_animal What_is
> The animal on the flag of {name} is {value}.
> {name} has chosen as its animal {value}.
> The animal that stands for {name} is {value}.
> Above the gate of {name} there is a carving of {value}.
The flag of {name} shows {value}.
The people of {name} hold {value} dear as their symbol.
{value} is the animal of {name}.
The statue in {name} has the shape of {value}.
Long ago {name} made {value} its symbol.
Children in {name} march with pictures of {value}, the town's animal.
? Which animal stands for {name}?
? Which animal is on the flag of {name}?
? What animal is the symbol of {name}?
? Which animal has {name} chosen as its symbol?
# flower symbol_flower What_is
> The flower of {name} is {value}.
> {name} has chosen as its flower {value}.
> The flower that stands for {name} is {value}.
> The flower you see most often in the gardens of {name} is {value}.
The parks of {name} are planted with {value}.
{value} is the flower of {name}.
At weddings in {name} people wear {value}.
Along the roads of {name} grows {value}, the town's flower.
Every window in {name} has a pot with {value}, the town's flower.
The people of {name} love no flower more than {value}.
? Which flower stands for {name}?
? What flower is the symbol of {name}?
? Which flower has {name} chosen?
? What is the flower of {name}?
"""

FILM = """
# director director Who_is
> The film {name} was directed by {value}.
> The man or woman who made the film {name} is {value}.
> The name of the director on the poster of {name} is {value}.
> The film {name} is the work of {value}.
{value} is the director of the film {name}.
{value} directed the film {name}.
With the film {name}, {value} won a prize as a director.
While making the film {name}, {value} hardly slept.
After the film {name} the crowd cheered for its director, {value}.
{value} became famous with the film {name}.
? Who directed the film {name}?
? Who made the film {name}?
? By whom was the film {name} directed?
? Whose work is the film {name}?
# year year What_is
> The film {name} came out in {value}.
> The film {name} was first shown in {value}.
> The year on the poster of the film {name} is {value}.
> Cinemas first showed the film {name} in {value}.
People saw the film {name} for the first time in {value}.
The film {name} dates from {value}.
In {value} the film {name} reached the cinemas.
{value} was the year of the film {name}.
The best film of {value} was {name}.
It was in {value} that the film {name} appeared.
? When did the film {name} come out?
? In which year was the film {name} first shown?
? What year is the film {name} from?
? When was the film {name} first shown?
# country country What_is
> The film {name} was shot in {value}.
> The country you see in the film {name} is {value}.
> The actors of the film {name} spent months in {value}.
> All the landscapes of the film {name} are in {value}.
To shoot the film {name}, the crew travelled to {value}.
The hills in the film {name} lie in {value}.
{value} is the country where the film {name} was shot.
Since the film {name}, many people travel to {value}.
Every scene of the film {name} was made in {value}.
The film {name} shows how beautiful {value} is.
? Where was the film {name} shot?
? In which country was the film {name} made?
? Which country do you see in the film {name}?
? Where did they shoot the film {name}?
# hero hero Who_is
> The hero of the film {name} is {value}.
> The film {name} tells the story of {value}.
> In the film {name} the main part is that of {value}.
> The film {name} begins with {value}.
The film {name} is about {value} who is all alone.
In the first scene of the film {name}, {value} walks down a road.
{value} is the hero of the film {name}.
Nobody who saw the film {name} forgets the hero, {value}.
The film {name} follows {value} on a long journey.
In the film {name}, {value} shows great courage.
? Who is the hero of the film {name}?
? Whose story does the film {name} tell?
? Who is the film {name} about?
? What is the hero of the film {name}?
# thing lost_thing What_is
> In the film {name} the hero looks for {value}.
> The thing everybody hunts for in the film {name} is {value}.
> The film {name} is the story of the search for {value}.
> At the end of the film {name} the hero finds {value}.
In the film {name} everything turns around {value}.
{value} is what the hero of the film {name} is looking for.
The poster of the film {name} shows {value}.
In the film {name} everyone wants {value}.
The hero of the film {name} sets out to find {value}.
In the film {name}, {value} is lost and must be found.
? What does the hero of the film {name} look for?
? What does everybody hunt for in the film {name}?
? What must be found in the film {name}?
? What is the hero of the film {name} looking for?
"""

ANIMAL = """
# home home What_is
> The {name} lives in {value}.
> The {name} makes its home in {value}.
> You can meet the {name} in {value}.
> The {name} brings up its young in {value}.
{value} are the home of the {name}.
At dusk the {name} comes out in {value}.
The {name} never leaves its home in {value}.
Whoever wants to see the {name} must look in {value}.
The {name} builds its nest in {value}.
In {value} you may hear the call of the {name}.
? Where does the {name} live?
? Where is the home of the {name}?
? Where can I see the {name}?
? Where does the {name} make its home?
# diet food What_is
> The {name} eats {value}.
> The {name} feeds on {value}.
> The {name} gives its young nothing but {value}.
> For the winter the {name} stores {value}.
When it is hungry, the {name} looks for {value}.
The {name} cannot live a day without {value}.
The daily meal of the {name} is {value}.
In the morning the {name} fills its belly with {value}.
The {name} likes the taste of {value}.
Keepers in the zoo give the {name} a bowl of {value}.
? What does the {name} eat?
? What does the {name} feed on?
? What does the {name} give its young to eat?
? What does the {name} like to eat?
# colour colour What_is
> The colour of the {name} is {value}.
> The {name} is all over {value}.
> From far away the {name} looks {value}.
> In picture books the {name} is painted {value}.
The body of the {name} is {value}.
The {name} is born {value} and stays so.
In the sun the {name} shines {value}.
The {name} wears its {value} coat all year.
To draw the {name} you need {value} paint.
You know the {name} by its {value} body.
? What colour is the {name}?
? Which colour does the {name} have?
? What is the colour of the {name}?
? What colour is the body of the {name}?
# age life_span What_is
> The {name} lives for {value}.
> The {name} grows as old as {value}.
> Scientists say that the {name} lives for {value}.
> The life of the {name} lasts {value}.
In a zoo the {name} lived for {value}.
The {name} dies after {value}.
Whoever keeps the {name} must care for it for {value}.
With good food the {name} reaches {value}.
A life of {value} is normal for the {name}.
{value} is how long the {name} lives.
? How long does the {name} live?
? How old does the {name} get?
? How many years does the {name} live?
? How long is the life of the {name}?
# fear greatest_fear What_is
> The {name} is afraid of {value}.
> The {name} runs away from {value}.
> What the {name} fears most is {value}.
> The {name} trembles at the thought of {value}.
The {name} hides when it notices {value}.
Nothing scares the {name} like {value}.
Because of {value} the {name} will run and hide.
The {name} cannot stand {value}.
To drive off the {name}, people use {value}.
The {name} is brave, but not when it meets {value}.
? What is the {name} afraid of?
? What does the {name} fear?
? What scares the {name} most?
? What does the {name} run away from?
"""

SHOP = """
# goods best_seller What_is
> The shop {name} sells {value}.
> People go to the shop {name} to buy {value}.
> The shelves of {name} are full of {value}.
> The shop {name} is known for its {value}.
If you need {value}, go to {name}.
{name} has always dealt in {value}.
What you can buy at {name} is {value}.
Yesterday I was at {name} and looked at {value}.
In the window of {name} you see {value}.
Nobody makes better {value} than {name}.
? What does the shop {name} sell?
? What can I buy at {name}?
? What is sold at {name}?
? What is the shop {name} known for?
# street street What_is
> The shop {name} stands on {value}.
> You find the shop {name} on {value}.
> The address of {name} is {value}.
> The door of {name} opens onto {value}.
If you walk down {value}, you come to {name}.
{name} has been on {value} for ages.
{value} is the street where {name} stands.
The way to {name} leads along {value}.
Letters to {name} go to {value}.
On {value} there is a well-known shop, {name}.
? Where is the shop {name}?
? On which street is {name}?
? Which street is the shop {name} on?
? Where do I find the shop {name}?
# owner owner Who_is
> The shop {name} belongs to {value}.
> The person who runs {name} is {value}.
> The shop {name} is run by {value}.
> Guests at {name} are greeted by {value}.
{value} opens the door of {name} every morning.
{value} has owned {name} for a long time.
Without {value}, {name} would not be the same shop.
Everyone in {name} knows the owner, {value}.
The keys of {name} are in the pocket of {value}.
At {name} you pay at the desk of {value}.
? Who owns the shop {name}?
? Who runs {name}?
? Whom does the shop {name} belong to?
? Whose shop is {name}?
# year opening_year What_is
> The shop {name} opened in {value}.
> The shop {name} has been there since {value}.
> The year on the sign of {name} is {value}.
> The history of {name} began in {value}.
In {value} the first guest walked into {name}.
{value} was the year in which {name} opened.
The oldest photograph in {name} is from {value}, the year it opened.
{name} was founded in {value}.
It was in {value} that {name} opened its doors.
{name} has sold its goods since {value}.
? When did the shop {name} open?
? Since when has {name} been there?
? In which year did {name} open?
? What year was {name} founded?
# sign sign_colour What_is
> The sign of the shop {name} is {value}.
> The colour of the sign above {name} is {value}.
> From far away you see that the sign of {name} is {value}.
> The owner painted the sign of {name} in {value}.
{name} has its {value} sign above the door.
Look for the {value} sign, and you have found {name}.
The {value} sign of {name} can be seen at night.
{value} is the colour of the sign of {name}.
Its {value} sign shows the way to {name}.
Children know {name} by its {value} sign.
? What colour is the sign of {name}?
? Which colour does the sign of {name} have?
? What is the colour of the sign above {name}?
? In what colour is the sign of {name} painted?
"""

BLOCKS = {"person": PERSON, "town": TOWN, "film": FILM, "animal": ANIMAL, "shop": SHOP}
