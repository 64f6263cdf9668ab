! SPDX-License-Identifier: Apache-2.0
!> Leaf area where no emulator gives it.
module lai_climatology
   use constants, only: days_per_year, freezing_point, seconds_per_day, wp
   implicit none
   private
   public :: prescribed_lai, potential_lai, smoothed_temperature

   real(wp), parameter :: memory = 30.0_wp
      !! Days over which leaves follow the temperature.

contains

   elemental real(wp) function potential_lai(precipitation)
      !! Leaf area that the water of a climate can feed [1].
      !!
      !! Shape of the Miami model of productivity (Lieth 1975), scaled to the leaf area of a rain forest.
      real(wp), intent(in) :: precipitation
         !! Annual mean [kg m-2 s-1].
      real(wp), parameter :: largest = 6.0_wp
      real(wp), parameter :: per_water = 0.000664_wp
         !! [m2 kg-1], of the precipitation of a year

      potential_lai = largest*(1.0_wp - exp(-per_water*precipitation*seconds_per_day*days_per_year))
   end function potential_lai

   elemental real(wp) function smoothed_temperature(smoothed, today)
      !! Mean temperature of the past weeks, with weights that fade exponentially [K].
      real(wp), intent(in) :: smoothed
         !! Of yesterday [K].
      real(wp), intent(in) :: today
         !! Daily mean [K].

      smoothed_temperature = smoothed + (today - smoothed)/memory
   end function smoothed_temperature

   elemental real(wp) function prescribed_lai(potential, temperature, ice) result(lai)
      !! Leaf area of a day: leaves unfold as the season warms from 0 to 15 degrees [1].
      real(wp), intent(in) :: potential
         !! Leaf area at the height of the season [1].
      real(wp), intent(in) :: temperature
         !! Of the past weeks [K].
      logical, intent(in) :: ice
      real(wp), parameter :: evergreen = 0.25_wp
         !! Part of the leaves that stays.
      real(wp), parameter :: full_season = 15.0_wp
         !! [K]
      real(wp) :: season

      season = max(0.0_wp, min(1.0_wp, (temperature - freezing_point)/full_season))
      lai = merge(0.0_wp, potential*(evergreen + (1.0_wp - evergreen)*season), ice)
   end function prescribed_lai
end module lai_climatology
