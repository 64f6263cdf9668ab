! SPDX-License-Identifier: Apache-2.0
!> From daily means to hours.
!!
!! The driving simulation has no diurnal cycle. What is added here never changes the daily mean of a flux, nor of
!! the temperature: the 24 hourly values of a UTC day average to the value that was read.
module disaggregation
   use calendar, only: day_of_year
   use cells, only: cells_t
   use constants, only: days_per_year, freezing_point, pi, radians, steps_per_day, wp
   use forcing, only: daily_t, forcing_t
   use moist_air, only: saturation_pressure, specific_humidity, vapour_pressure
   use solar_geometry, only: daily_mean_cosine_zenith, declination, irradiance, mean_cosine_zenith
   implicit none
   private
   public :: atmosphere_t, new_atmosphere, disaggregation_t
   public :: daily_range, hourly_longwave, hourly_precipitation, hourly_shortwave, hourly_temperature, spell_start

   real(wp), parameter :: warmest_hour = 14.5_wp
      !! Local solar time at which the temperature peaks [h].
   real(wp), parameter :: source_height = 135.0_wp
      !! Height of the lowest layer of the driving model, from its sigma level 0.983 [m].
   real(wp), parameter :: open_terrain = 0.1_wp
      !! Roughness length of the terrain around a meteorological station [m].
   real(wp), parameter :: wind_to_10m = log(10.0_wp/open_terrain)/log(source_height/open_terrain)
      !! Logarithmic profile from the height of the source to 10 m.
   real(wp), parameter :: all_snow = freezing_point
      !! Precipitation is snow below this air temperature, ...
   real(wp), parameter :: all_rain = freezing_point + 2.0_wp
      !! ... rain above this one, and in between a mixture (US Army Corps of Engineers 1956) [K].
   integer, parameter :: spell_hours = 6
      !! Precipitation of a day falls within this many hours.

   type :: atmosphere_t
      !! What the land sees of the atmosphere in one hour.
      real(wp), allocatable :: tas(:)
         !! Air temperature [K].
      real(wp), allocatable :: huss(:)
         !! Specific humidity [1].
      real(wp), allocatable :: vpd(:)
         !! Vapour pressure deficit [Pa].
      real(wp), allocatable :: ps(:)
         !! Surface pressure [Pa].
      real(wp), allocatable :: wind(:)
         !! Wind speed at 10 m [m s-1].
      real(wp), allocatable :: rsds(:)
         !! Downwelling shortwave [W m-2].
      real(wp), allocatable :: rlds(:)
         !! Downwelling longwave [W m-2].
      real(wp), allocatable :: pr(:)
         !! Precipitation, rain and snow [kg m-2 s-1].
      real(wp), allocatable :: snowfall(:)
         !! Its frozen part [kg m-2 s-1].
   end type atmosphere_t

   type :: disaggregation_t
      !! Yesterday, today and tomorrow, and the 24 hours of today.
      private
      type(daily_t) :: yesterday, today, tomorrow
      integer :: day = 0
         !! Day of the run that `today` is; 0: none yet.
      real(wp), allocatable, public :: tas(:, :)
         !! Hourly air temperature (cell, hour) [K].
      real(wp), allocatable, public :: rsds(:, :)
         !! Hourly downwelling shortwave (cell, hour) [W m-2].
      real(wp), allocatable, public :: rlds(:, :)
         !! Hourly downwelling longwave (cell, hour) [W m-2].
      real(wp), allocatable, public :: pr(:, :)
         !! Hourly precipitation (cell, hour) [kg m-2 s-1].
   contains
      procedure :: read_day
      procedure :: give_hour
      procedure :: daily_mean_temperature
   end type disaggregation_t

contains

   pure type(atmosphere_t) function new_atmosphere(count)
      !! An atmosphere over `count` cells, with nothing in it yet.
      integer, intent(in) :: count

      allocate (new_atmosphere%tas(count), new_atmosphere%huss(count), new_atmosphere%vpd(count), &
         new_atmosphere%ps(count), new_atmosphere%wind(count), new_atmosphere%rsds(count), &
         new_atmosphere%rlds(count), new_atmosphere%pr(count), new_atmosphere%snowfall(count))
   end function new_atmosphere

   subroutine read_day(self, source, owned, day)
      !! Move on to `day` of the run and make its 24 hours.
      class(disaggregation_t), intent(inout) :: self
      type(forcing_t), intent(in) :: source
      type(cells_t), intent(in) :: owned
      integer, intent(in) :: day
      real(wp) :: temperature(steps_per_day)
      integer :: cell, today

      today = day_of_year(day)
      if (day == self%day + 1 .and. day > 1) then
         self%yesterday = self%today
         self%today = self%tomorrow
      else
         call source%read_day(day_of_year(day - 1), self%yesterday)
         call source%read_day(today, self%today)
      end if
      call source%read_day(day_of_year(day + 1), self%tomorrow)
      self%day = day

      if (.not. allocated(self%tas)) then
         allocate (self%tas(owned%count, steps_per_day), self%rsds(owned%count, steps_per_day), &
            self%rlds(owned%count, steps_per_day), self%pr(owned%count, steps_per_day))
      end if
      do cell = 1, owned%count
         self%rsds(cell, :) = hourly_shortwave(self%today%rsds(cell), owned%lon(cell), owned%lat(cell), today)
         temperature = hourly_temperature(self%yesterday%tas(cell), self%today%tas(cell), self%tomorrow%tas(cell), &
            daily_range(self%today%rsds(cell), owned%lat(cell), today), owned%lon(cell))
         self%tas(cell, :) = temperature
         self%rlds(cell, :) = hourly_longwave(self%today%rlds(cell), temperature)
         self%pr(cell, :) = hourly_precipitation(self%today%pr(cell), spell_start(owned%id(cell), today))
      end do
   end subroutine read_day

   subroutine give_hour(self, hour, atmosphere)
      !! Set the atmosphere of an hour (1 to 24) of the day.
      !!
      !! Wind and pressure keep their daily means. So does the humidity, up to saturation at the hour's temperature.
      class(disaggregation_t), intent(in) :: self
      integer, intent(in) :: hour
      type(atmosphere_t), intent(inout) :: atmosphere
      real(wp) :: saturation, vapour
      integer :: cell

      do cell = 1, size(self%tas, 1)
         atmosphere%tas(cell) = self%tas(cell, hour)
         atmosphere%ps(cell) = self%today%ps(cell)
         atmosphere%wind(cell) = self%today%wind(cell)*wind_to_10m
         atmosphere%rsds(cell) = self%rsds(cell, hour)
         atmosphere%rlds(cell) = self%rlds(cell, hour)
         atmosphere%pr(cell) = self%pr(cell, hour)
         atmosphere%snowfall(cell) = frozen_fraction(self%tas(cell, hour))*self%pr(cell, hour)

         saturation = saturation_pressure(self%tas(cell, hour))
         vapour = min(vapour_pressure(self%today%huss(cell), self%today%ps(cell)), saturation)
         atmosphere%huss(cell) = specific_humidity(vapour, self%today%ps(cell))
         atmosphere%vpd(cell) = saturation - vapour
      end do
   end subroutine give_hour

   pure function daily_mean_temperature(self) result(mean)
      !! Air temperature of the day as it was read [K].
      class(disaggregation_t), intent(in) :: self
      real(wp) :: mean(size(self%tas, 1))

      mean = self%today%tas
   end function daily_mean_temperature

   pure function hourly_shortwave(daily_mean, lon, lat, day) result(hourly)
      !! Share the day's shortwave out in proportion to the cosine of the solar zenith angle of each hour.
      real(wp), intent(in) :: daily_mean
         !! [W m-2]
      real(wp), intent(in) :: lon
         !! [degrees_east]
      real(wp), intent(in) :: lat
         !! [degrees_north]
      integer, intent(in) :: day
         !! Day of the year.
      real(wp) :: hourly(steps_per_day)
      real(wp) :: hour_angle(0:steps_per_day), total
      integer :: hour

      hour_angle = [(2.0_wp*pi*hour/steps_per_day + lon*radians - pi, hour=0, steps_per_day)]
      hourly = mean_cosine_zenith(lat*radians, declination(day), hour_angle(:steps_per_day - 1), hour_angle(1:))
      total = sum(hourly)
      if (total > 0.0_wp) then
         hourly = daily_mean*(hourly*(steps_per_day/total))
      else
         hourly = daily_mean  ! twilight in the polar night
      end if
   end function hourly_shortwave

   elemental real(wp) function daily_range(shortwave, lat, day)
      !! Daily temperature range from the transmissivity of the atmosphere [K].
      !!
      !! Bristow and Campbell (1984, doi 10.1016/0168-1923(84)90017-0), solved for the range: a clear day has a
      !! large one. It fades out where there is hardly any sun to cause it.
      real(wp), intent(in) :: shortwave
         !! Daily mean [W m-2].
      real(wp), intent(in) :: lat
         !! [degrees_north]
      integer, intent(in) :: day
         !! Day of the year.
      real(wp), parameter :: clear_sky = 0.7_wp
      real(wp), parameter :: b = 0.006_wp
      real(wp), parameter :: c = 2.4_wp
      real(wp), parameter :: clearest = 0.68_wp
         !! Keeps the logarithm finite; gives a range of about 14 K.
      real(wp), parameter :: little_sun = 100.0_wp
         !! Top-of-atmosphere shortwave below which the range fades out [W m-2].
      real(wp) :: top, transmissivity

      top = irradiance(day)*daily_mean_cosine_zenith(lat*radians, declination(day))
      if (top > 1.0_wp) then
         transmissivity = min(shortwave/top, clearest)
         daily_range = (-log(1.0_wp - transmissivity/clear_sky)/b)**(1.0_wp/c)*min(1.0_wp, top/little_sun)
      else
         daily_range = 0.0_wp
      end if
   end function daily_range

   pure function hourly_temperature(yesterday, today, tomorrow, range, lon) result(hourly)
      !! Daily means joined without jumps, plus a sine wave with its crest in the early afternoon.
      !!
      !! The join is linear between midnight, where neighbouring days meet halfway, and noon, whose value keeps
      !! the daily mean (Sheng and Zwiers 1998, doi 10.1007/s003820050258, for months).
      real(wp), intent(in) :: yesterday, today, tomorrow
         !! Daily means [K].
      real(wp), intent(in) :: range
         !! Daily range of the wave [K].
      real(wp), intent(in) :: lon
         !! [degrees_east]
      real(wp) :: hourly(steps_per_day)
      real(wp) :: first, last, noon, part, wave
      integer :: hour

      first = 0.5_wp*(yesterday - today)
      last = 0.5_wp*(tomorrow - today)
      noon = -0.5_wp*(first + last)
      do hour = 1, steps_per_day
         part = 2.0_wp*(hour - 0.5_wp)/steps_per_day
         wave = cos(2.0_wp*pi*((hour - 0.5_wp - warmest_hour)/steps_per_day) + lon*radians)
         if (part < 1.0_wp) then
            hourly(hour) = today + (first + (noon - first)*part + 0.5_wp*range*wave)
         else
            hourly(hour) = today + (noon + (last - noon)*(part - 1.0_wp) + 0.5_wp*range*wave)
         end if
      end do
   end function hourly_temperature

   pure function hourly_longwave(daily_mean, temperature) result(hourly)
      !! The air keeps its emissivity over the day, so longwave follows the fourth power of its temperature.
      real(wp), intent(in) :: daily_mean
         !! [W m-2]
      real(wp), intent(in) :: temperature(steps_per_day)
         !! [K]
      real(wp) :: hourly(steps_per_day)

      hourly = temperature**4
      hourly = daily_mean*(hourly*(steps_per_day/sum(hourly)))
   end function hourly_longwave

   pure function hourly_precipitation(daily_mean, start) result(hourly)
      !! One spell a day: spread over the whole day, rain would be a drizzle that canopies catch.
      real(wp), intent(in) :: daily_mean
         !! [kg m-2 s-1]
      integer, intent(in) :: start
         !! First hour of the spell, from 0; a spell that passes midnight comes in at the start of the same day.
      real(wp) :: hourly(steps_per_day)
      integer :: hour

      hourly = 0.0_wp
      do hour = start, start + spell_hours - 1
         hourly(modulo(hour, steps_per_day) + 1) = daily_mean*(real(steps_per_day, wp)/spell_hours)
      end do
   end function hourly_precipitation

   elemental integer function spell_start(id, day)
      !! Hour at which the spell of a day starts, from 0.
      !!
      !! An additive recurrence (Weyl 1916) over cells and days: all hours come up equally often, neighbours differ, and
      !! the answer is the same on any rank.
      integer, intent(in) :: id
         !! Cell.
      integer, intent(in) :: day
         !! Day of the year.
      real(wp), parameter :: cell_share = 0.6180339887498949_wp
      real(wp), parameter :: day_share = 0.4142135623730951_wp

      spell_start = int(steps_per_day*modulo(cell_share*id + day_share*day, 1.0_wp))
   end function spell_start

   elemental real(wp) function frozen_fraction(temperature)
      !! Frozen part of the precipitation at an air temperature [K].
      real(wp), intent(in) :: temperature

      frozen_fraction = max(0.0_wp, min(1.0_wp, (all_rain - temperature)/(all_rain - all_snow)))
   end function frozen_fraction
end module disaggregation
